// An SMSC on node-smpp: node smsc.mjs PORT USER PASSWORD [KEY CERT].
// Orders: script {answers}, rest {answer}, mo {source, destination, text}, pdu {command, fields}, unbind, cut.
// An answer: {status, id, after (ms), silent, cut, receipts: [{state, before, form, id, times}]}.
import { readFileSync } from "node:fs";
import { listen, parts, plain, rich, say, smpp } from "./common.mjs";

const [port, user, password, key, cert] = process.argv.slice(2);
const STATES = { ENROUTE: 1, DELIVRD: 2, EXPIRED: 3, DELETED: 4, UNDELIV: 5, ACCEPTD: 6, UNKNOWN: 7, REJECTD: 8 };
const sessions = [];
const waiting = []; // deliver_sm for the next bind
const known = {}; // message id: state
let script = [];
let rest = {};
let last = 1000;
let ids = "decimal";
let reference = 0;

const bind = (session, mode) => (pdu) => {
  const right = pdu.system_id === user && pdu.password === password;
  const status = right ? 0 : smpp.ESME_RBINDFAIL;
  session.send(pdu.response({ command_status: status, system_id: "node" }));
  say("bind", { mode, system_id: pdu.system_id, password: pdu.password, status });
  if (right && mode !== "transmitter") {
    session.receives = true;
    while (waiting.length) deliver(waiting.shift());
  }
};

function deliver(fields) {
  const session = sessions.find((one) => one.receives);
  if (!session) waiting.push(fields);
  else session.deliver_sm(fields, (pdu) => say("deliver_sm_resp", { status: pdu.command_status }));
}

function receipt(pdu, id, { state = "DELIVRD", form = "both", id: told = "same", times = 1 }) {
  const name = { same: id, hex: Number(id).toString(16).toUpperCase(), decimal: String(parseInt(id, 16)) }[told];
  const fields = { esm_class: 4, source_addr: pdu.destination_addr, destination_addr: pdu.source_addr };
  const date = "2601021504";
  if (form !== "tlv")
    fields.short_message =
      `id:${name} sub:001 dlvrd:${state === "DELIVRD" ? "001" : "000"} submit date:${date} done date:${date}` +
      ` stat:${state} err:000 text:as it was`;
  if (form !== "text") Object.assign(fields, { receipted_message_id: name, message_state: STATES[state] });
  known[id] = state;
  for (let n = 0; n < times; n++) deliver({ ...fields });
}

function submit(session, pdu) {
  const order = script.shift() ?? rest;
  const id = order.id ?? (ids === "hex" ? (++last).toString(16).toUpperCase() : String(++last));
  const status = order.status ?? 0;
  say("submit_sm", { pdu: plain(pdu), status, id, at: Date.now() });
  if (!status) known[id] = "ENROUTE";
  const receipts = order.receipts ?? [];
  const answer = () => {
    receipts.filter((one) => one.before).forEach((one) => receipt(pdu, id, one));
    if (!order.silent) session.send(pdu.response(status ? { command_status: status } : { message_id: id }));
    receipts.filter((one) => !one.before).forEach((one) => receipt(pdu, id, one));
  };
  if (order.cut) {
    session.receives = false;
    reset(session);
    receipts.forEach((one) => receipt(pdu, id, one)); // with the next bind
  } else if (order.after) setTimeout(answer, order.after);
  else answer();
}

function reset(session) {
  if (key) session.destroy(); // TLS has no way to say RST
  else session.socket.resetAndDestroy();
}

function query(session, pdu) {
  const state = known[pdu.message_id];
  if (!state) session.send(pdu.response({ command_status: smpp.ESME_RQUERYFAIL }));
  else session.send(pdu.response({ message_id: pdu.message_id, message_state: STATES[state] }));
}

const options = key ? { key: readFileSync(key), cert: readFileSync(cert) } : {};
const server = smpp.createServer(options, (session) => {
  sessions.push(session);
  session.on("error", () => {}); // reset by the other side
  session.on("close", () => {
    sessions.splice(sessions.indexOf(session), 1);
    say("closed");
  });
  for (const mode of ["transceiver", "transmitter", "receiver"]) session.on(`bind_${mode}`, bind(session, mode));
  session.on("submit_sm", (pdu) => submit(session, pdu));
  session.on("query_sm", (pdu) => query(session, pdu));
  session.on("enquire_link", (pdu) => session.send(pdu.response()));
  session.on("unbind", (pdu) => {
    session.receives = false;
    session.send(pdu.response());
    session.close();
    say("unbind");
  });
  session.on("unknown", (pdu) => session.send(pdu.response()));
});
server.on("tlsClientError", (error) => say("tls", { text: String(error) }));
server.listen(Number(port), "127.0.0.1", () => say("listening", { port: server.address().port }));

listen({
  script: ({ answers }) => script.push(...answers),
  rest: ({ answer }) => (rest = answer),
  ids: ({ form }) => (ids = form),
  mo: ({ source, destination, text }) => {
    for (const { udh, message, coding } of parts(text, ++reference)) {
      const fields = { source_addr: source, destination_addr: destination };
      fields.short_message = udh ? { udh, message } : message;
      if (coding !== undefined) fields.data_coding = coding;
      deliver(fields);
    }
  },
  pdu: ({ command, fields }) =>
    sessions.forEach((one) => one[command](rich(fields), (pdu) => say("answer", { command, pdu: plain(pdu) }))),
  unbind: () => sessions.forEach((one) => one.unbind(() => one.close())),
  cut: () => sessions.forEach(reset),
});
