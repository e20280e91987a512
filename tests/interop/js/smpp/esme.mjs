// An ESME on node-smpp: node esme.mjs URL. Its certificate authority comes with NODE_EXTRA_CA_CERTS.
// Orders: bind {mode, user, password}, send {command, source, destination, text, receipt, job}, pdu {command, fields, job},
// raw {hex}, unbind, close, answer {status}.
import { listen, parts, plain, rich, say, smpp } from "./common.mjs";

let session;
let reference = 0;
let status = 0; // with which deliver_sm is answered

function connect() {
  session = smpp.connect({ url: process.argv[2] }, () => say("connected"));
  session.on("error", (error) => say("failed", { text: String(error) }));
  session.on("close", () => say("closed"));
  session.on("deliver_sm", (pdu) => {
    session.send(pdu.response({ command_status: status }));
    say("deliver_sm", { pdu: plain(pdu) });
  });
  session.on("submit_sm", (pdu) => {
    session.send(pdu.response({ command_status: status, message_id: "e1" }));
    say("submit_sm", { pdu: plain(pdu) });
  });
  session.on("enquire_link", (pdu) => session.send(pdu.response()));
  session.on("unbind", (pdu) => {
    session.send(pdu.response());
    say("unbind");
    session.close();
  });
  session.on("unknown", (pdu) => say("unknown", { pdu: plain(pdu) }));
  session.on("generic_nack", (pdu) => say("generic_nack", { pdu: plain(pdu) }));
}

function ask(command, fields, job) {
  session[command](fields, (pdu) => say("answer", { job, command, pdu: plain(pdu) }));
}

connect();
listen({
  connect,
  bind: ({ mode, user, password }) => ask(`bind_${mode}`, { system_id: user, password }, "bind"),
  send: ({ command, source, destination, text, receipt, job }) => {
    const pieces = parts(text, ++reference);
    say("parts", { job, count: pieces.length });
    for (const { udh, message, coding } of pieces) {
      const fields = {
        source_addr: source,
        destination_addr: destination,
        source_addr_ton: 1,
        source_addr_npi: 1,
        dest_addr_ton: 1,
        dest_addr_npi: 1,
        registered_delivery: receipt ? 1 : 0,
        short_message: udh ? { udh, message } : message,
      };
      if (coding !== undefined) fields.data_coding = coding;
      ask(command, fields, job);
    }
  },
  pdu: ({ command, fields, job }) => ask(command, rich(fields), job),
  raw: ({ hex }) => session.socket.write(Buffer.from(hex, "hex")),
  answer: (order) => (status = order.status),
  unbind: () => session.unbind(() => session.close()),
  close: () => session.destroy(),
});
