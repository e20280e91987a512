// A JsSIP phone driven by lines of JSON: {"do": "register"|"send"|"reconnect"|"stop", ...} in, {"event": ...} out.
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const WebSocket = require('ws');
const [server, name, password, domain] = process.argv.slice(2);

// What a browser has and JsSIP looks for. The certificate is checked: NODE_EXTRA_CA_CERTS names the authority.
let line;
globalThis.WebSocket = class extends WebSocket {
  constructor(url, protocol) { super(url, protocol, { origin: `https://${domain}` }); line = this; }
};
globalThis.window ??= globalThis;

const JsSIP = require('jssip');
const say = (event, more = {}) => process.stdout.write(JSON.stringify({ event, ...more }) + '\n');
const socket = new JsSIP.WebSocketInterface(server);
const phone = new JsSIP.UA({
  sockets: [socket], uri: `sip:${name}@${domain}`, password, register: false, register_expires: 300,
});
const header = (request, field) => request.getHeader(field) ?? '';

phone.on('connected', () => say('connected'));
phone.on('disconnected', (e) => say('disconnected', { error: !!e.error }));
phone.on('registered', (e) => say('registered', {
  require: header(e.response, 'Require'), timer: header(e.response, 'Flow-Timer'), contact: header(e.response, 'Contact'),
}));
phone.on('registrationFailed', (e) => say('registrationFailed', { status: e.response?.status_code ?? 0 }));
phone.on('newMessage', (e) => {
  if (e.originator !== 'remote') return;
  e.message.accept();
  say('message', {
    text: e.request.body, from: e.request.from.uri.user, to: e.request.to.uri.toString(),
    did: header(e.request, 'X-SMS-To'), callId: e.request.call_id,
  });
});

createInterface({ input: process.stdin }).on('line', (text) => {
  const order = JSON.parse(text);
  if (order.do === 'register') phone.register();
  if (order.do === 'break') line.terminate();
  if (order.do === 'stop') phone.stop();
  if (order.do === 'send') {
    phone.sendMessage(`sip:${order.to}@${domain}`, order.text, {
      contentType: order.contentType ?? 'text/plain',
      eventHandlers: {
        succeeded: (e) => say('sent', { status: e.response.status_code }),
        failed: (e) => say('failed', { status: e.response?.status_code ?? 0, warning: header(e.response ?? { getHeader: () => '' }, 'Warning') }),
      },
    });
  }
}).on('close', () => process.exit(0));

phone.start();
