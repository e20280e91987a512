// What both programs share: orders come as lines of JSON on stdin, events leave as lines of JSON on stdout.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
export const smpp = require("smpp");

export const say = (event, more = {}) => process.stdout.write(JSON.stringify({ event, ...more }) + "\n");

export function listen(orders) {
  createInterface({ input: process.stdin }).on("line", (line) => {
    const order = JSON.parse(line);
    try {
      orders[order.do](order);
    } catch (error) {
      say("error", { text: String(error) });
    }
    say("done", { order: order.order });
  });
}

// A PDU as plain fields. Buffers as {"hex": ...}; messages as text (decoded by the library) and octets of the UDH.
export function plain(pdu) {
  const fields = {};
  for (const [name, value] of Object.entries(pdu)) fields[name] = flat(value);
  return fields;
}

function flat(value) {
  if (Buffer.isBuffer(value)) return { hex: value.toString("hex") };
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value)) return value.map(flat);
  if (value && typeof value === "object") return plain(value);
  return value;
}

// {"hex": ...} becomes a Buffer, at any depth, in what a test orders.
export function rich(value) {
  if (Array.isArray(value)) return value.map(rich);
  if (value && typeof value === "object") {
    if (typeof value.hex === "string") return Buffer.from(value.hex, "hex");
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, rich(one)]));
  }
  return value;
}

// Parts of a long text by UDH; the library encodes each (GSM or UCS-2) but splits nothing itself.
export function parts(text, reference) {
  const gsm = smpp.encodings.detect(text) === "ASCII";
  const letters = [...text];
  const weigh = (letter) => (gsm ? smpp.encodings.ASCII.encode(letter).length : letter.length * 2);
  if (letters.reduce((sum, letter) => sum + weigh(letter), 0) <= (gsm ? 160 : 140)) return [{ message: text }];
  const pieces = [""];
  let used = 0;
  for (const letter of letters) {
    if (used + weigh(letter) > (gsm ? 153 : 134)) {
      pieces.push("");
      used = 0;
    }
    pieces[pieces.length - 1] += letter;
    used += weigh(letter);
  }
  const coding = gsm ? smpp.ENCODING.ASCII : smpp.ENCODING.UCS2;
  return pieces.map((message, i) => ({
    message,
    coding,
    udh: Buffer.from([5, 0, 3, reference & 255, pieces.length, i + 1]),
  }));
}
