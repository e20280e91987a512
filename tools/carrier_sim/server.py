"""The simulator's HTTP side: the API with its faults, the carrier's calls to its customer, and the control.

Control, all JSON:

    POST /sim/inbound  {"from": "5551234567", "to": "4165550000", "text": "hi", "media": [URL or {"type", "base64"}]}
    GET  /sim/sent     what was sent through the API, oldest first
    GET  /sim/calls    what the callbacks and webhooks were answered
    POST /sim/fault    {"fault": "hang_up", "count": 1, "method": "sendSMS"}; {} ends all faults
    POST /sim/settings {"daily_limit": 100, "hide_media": true}
    POST /sim/retry    what waits for its next try is tried now

Faults: `down` (503), `slow` (with "seconds"), `hang_up` (does as asked, then closes without an answer), `drop` (closes
and does nothing), `garbage`, `half` (half of the answer's body), `throttle` (api_limit_exceeded), `limit_reached`, and
`word` (with "word", any status word). `stop()` and `start()` close and open the port.
"""

from __future__ import annotations

import json
import secrets
import socket
import threading
import time
import urllib.error
import urllib.request
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self
from urllib.parse import parse_qsl, quote_plus, urlsplit

from tools.carrier_sim.api import Api, DidSettings, Record, wall

API: Final = "/api/v1/rest.php"
TIMEOUT: Final = 15.0
_WORDS: Final = {"throttle": "api_limit_exceeded", "limit_reached": "limit_reached"}


@dataclass
class Fault:
    fault: str
    count: int | None = None  # requests; None: until it is ended
    method: str = ""  # of the API; empty: any
    seconds: float = 0.0
    word: str = ""


@dataclass
class Call:
    """A callback or a webhook, and what became of it. `status` 0: no answer."""

    kind: str
    url: str
    message: int
    status: int = 0
    answer: str = ""
    done: bool = False
    tries: int = 0
    due: float = 0.0
    body: bytes | None = field(default=None, repr=False)


class CarrierSim:
    """`with CarrierSim(dids=[...]) as sim`: serves in threads until the block ends."""

    def __init__(
        self, port: int = 0, *, host: str = "127.0.0.1", username: str = "sim@example.net",
        password: str = "simulated", dids: Sequence[str] = ("4165550000",), daily_limit: int | None = None,
        retry_every: float = 1800.0, clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self.api = Api(username, password, list(dids), clock)
        self.api.daily_limit = daily_limit
        self.retry_every = retry_every
        self.host, self.port = host, port
        self.faults: list[Fault] = []
        self.calls: list[Call] = []
        self.ahead = 0.0  # seconds by which its clock, as its answers show it, differs from ours
        self.requests: list[dict[str, str]] = []  # fields of the API's requests, without the password
        self.media: dict[str, tuple[str, bytes]] = {}
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self._stopped = threading.Event()
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self._stopped.clear()
        self._server = _Server((self.host, self.port), self)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        threading.Thread(target=self._repeat, daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def base(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Of the API, as a carrier's configuration has it."""
        return self.base + API

    @property
    def sent(self) -> list[Record]:
        with self.lock:
            return list(self.api.sent)

    def wait(self, true: Callable[[], object], seconds: float = 5.0) -> None:
        """Until something holds that the simulator sees happen. Raises AssertionError when time is up."""
        with self.changed:
            if not self.changed.wait_for(true, seconds):
                raise AssertionError(f"not within {seconds} s; sent: {self.api.sent}; calls: {self.calls}")

    # --- control ---

    def did(self, number: str) -> DidSettings:
        return self.api.dids[number]

    def fault(self, fault: str = "", **options: Any) -> None:
        with self.lock:
            if not fault:
                self.faults.clear()
            else:
                self.faults.append(Fault(fault, **options))

    def inject(self, source: str, did: str, text: str, media: Sequence[Any] = (), *, quiet: bool = False) -> int:
        """A message comes in from the network; its id. `quiet`: the carrier forgets to call."""
        with self.changed:
            links = [self._link(one) for one in media]
            record = self.api.add("1", did, source, text, links, mms=bool(links) or len(text) > 160)
            due = [] if quiet else self._calls_for(record)
            self.calls += due
            self.changed.notify_all()
        for call in due:
            threading.Thread(target=self._try, args=(call,), daemon=True).start()
        return record.id

    def retry(self) -> None:
        """Every call that waits for its next try, now."""
        with self.lock:
            waiting = [call for call in self.calls if not call.done and call.due]
        for call in waiting:
            self._try(call)

    def _link(self, media: Any) -> str:
        if isinstance(media, str):
            return media
        kind = media.get("type", "image/png")
        name = f"{secrets.token_urlsafe(16)}.{kind.rpartition('/')[2]}"
        self.media[name] = (kind, b64decode(media["base64"]))
        return f"{self.base}/media/{name}"

    # --- calls to the customer ---

    def _calls_for(self, record: Record) -> list[Call]:
        did = self.api.dids.get(record.did)
        row = did.row() if did is not None else {}
        calls = []
        if did is not None and row["sms_url_callback_enabled"] == "1" and row["sms_url_callback"]:
            calls.append(Call("callback", callback_url(row["sms_url_callback"], record, did), record.id))
        if did is not None and row["webhook_enabled"] == "1" and row["webhook"]:
            calls.append(Call("webhook", row["webhook"], record.id, body=webhook_body(record, did)))
        return calls

    def _try(self, call: Call) -> None:
        with self.lock:
            call.tries += 1
            call.due = 0.0
        headers = {"Content-Type": "application/json"} if call.body is not None else {}
        status, answer = _fetch(urllib.request.Request(call.url, call.body, headers))
        with self.changed:
            call.status, call.answer = status, answer
            call.done = self._is_done(call)
            call.due = 0.0 if call.done else time.monotonic() + self.retry_every
            self.changed.notify_all()

    def _is_done(self, call: Call) -> bool:
        """A webhook is done with 2xx; a callback with `ok`, or at once where retry is off."""
        if call.kind == "webhook":
            return 200 <= call.status < 300
        record = next((one for one in self.api.records if one.id == call.message), None)
        did = self.api.dids.get(record.did) if record else None
        return call.answer.strip() == "ok" or did is None or did.row()["sms_url_callback_retry"] != "1"

    def _repeat(self) -> None:
        while not self._stopped.wait(0.1):
            now = time.monotonic()
            with self.lock:
                due = [call for call in self.calls if not call.done and call.due and call.due <= now]
            for call in due:
                self._try(call)

    # --- the API ---

    def take_fault(self, method: str) -> Fault | None:
        with self.lock:
            fault = next((one for one in self.faults if one.method in ("", method)), None)
            if fault is not None and fault.count is not None:
                fault.count -= 1
                if fault.count <= 0:
                    self.faults.remove(fault)
            return fault

    def call_api(self, fields: Mapping[str, str], address: str) -> dict[str, Any]:
        with self.changed:
            self.requests.append({key: value for key, value in fields.items() if key != "api_password"})
            answer = self.api.call(fields, address)
            self.changed.notify_all()
            return answer


# --- what a call says -------------------------------------------------------------------------------------------------


def _written(number: str, did: DidSettings) -> str:
    return f"+1{number}" if did.e164 and len(number) == 10 else number


def callback_url(template: str, record: Record, did: DidSettings) -> str:
    """Plain substitution, whatever the parameters are called; `{MEDIA}` has empty slots up to three."""
    slots = [*record.media, "", "", ""][: max(3, len(record.media))] if record.mms else []
    values = {
        "ID": str(record.id),
        "TIMESTAMP": wall(record.at).strftime("%Y-%m-%d %H:%M:%S"),
        "FROM": _written(record.contact, did),
        "TO": _written(record.did, did),
        "MESSAGE": record.message,
        "MEDIA": ",".join(slots),
    }
    for name, value in values.items():
        template = template.replace("{" + name + "}", quote_plus(value))
    return template


def webhook_body(record: Record, did: DidSettings) -> bytes:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.at))
    payload = {
        "id": record.id,
        "record_type": "message",
        "direction": "inbound",
        "type": "MMS" if record.mms else "SMS",
        "from": {"phone_number": _written(record.contact, did)},
        "to": [{"phone_number": _written(record.did, did), "status": "webhook_delivered"}],
        "text": record.message,
        "received_at": at,
        "media": [{"url": url} for url in record.media],
    }
    envelope = {"event_type": "message.received", "record_type": "event", "occurred_at": at, "payload": payload}
    return json.dumps({"data": {"id": secrets.randbelow(10**6), **envelope}}).encode()


def _fetch(request: urllib.request.Request) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return answer.status, answer.read(65536).decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read(65536).decode("utf-8", "replace")
    except (OSError, ValueError):
        return 0, ""


# --- HTTP -------------------------------------------------------------------------------------------------------------


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 512

    def __init__(self, address: tuple[str, int], sim: CarrierSim) -> None:
        self.sim = sim
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away: nothing to say."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self._handle(b"")

    def do_POST(self) -> None:
        self._handle(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _handle(self, body: bytes) -> None:
        path = urlsplit(self.path).path
        if path == API:
            self._api(body)
        elif path.startswith("/media/"):
            kind, data = self.server.sim.media.get(path.removeprefix("/media/"), ("", b""))
            self._answer(200 if kind else 404, data, kind or "text/plain")
        elif path.startswith("/sim/"):
            self._control(path.removeprefix("/sim/"), body)
        else:
            self._answer(404, b"not found\n", "text/plain")

    # --- the API and its faults ---

    def _api(self, body: bytes) -> None:
        sim = self.server.sim
        fields = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True)) | self._fields(body)
        fault = sim.take_fault(fields.get("method", ""))
        kind = fault.fault if fault else ""
        if kind == "drop":
            return self._hang_up()
        if kind == "down":
            return self._answer(503, b"<html>maintenance</html>", "text/html")
        if fault and (word := _WORDS.get(kind, fault.word if kind == "word" else "")):
            return self._json({"status": word})
        answer = sim.call_api(fields, self.client_address[0])
        if fault and kind == "slow":
            time.sleep(fault.seconds)
        if kind == "hang_up":
            return self._hang_up()
        if kind == "garbage":
            return self._answer(200, b"<html><b>Warning</b>: mysqli::query()</html>", "text/html")
        data = json.dumps(answer).encode()
        return self._answer(200, data[: len(data) // 2] if kind == "half" else data, "application/json")

    def _fields(self, body: bytes) -> dict[str, str]:
        kind = self.headers.get("Content-Type", "")
        if kind.startswith("multipart/form-data"):
            parsed = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
            return {
                str(part.get_param("name", header="content-disposition")): _payload(part)
                for part in parsed.iter_parts()
            }
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))

    def _hang_up(self) -> None:
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    # --- control ---

    def _control(self, name: str, body: bytes) -> None:
        sim = self.server.sim
        given = json.loads(body) if body else {}
        match name:
            case "inbound":
                number = sim.inject(given["from"], given["to"], given.get("text", ""), given.get("media", ()))
                self._json({"id": number})
            case "sent":
                self._json([asdict(record) for record in sim.sent])
            case "calls":
                self._json([{k: v for k, v in asdict(call).items() if k != "body"} for call in sim.calls])
            case "fault":
                sim.fault(given.pop("fault", ""), **given)
                self._json({})
            case "settings":
                sim.api.daily_limit = given.get("daily_limit", sim.api.daily_limit)
                sim.api.hide_media = given.get("hide_media", sim.api.hide_media)
                self._json({})
            case "retry":
                sim.retry()
                self._json({})
            case _:
                self._answer(404, b"no such control\n", "text/plain")

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(int((timestamp or time.time()) + self.server.sim.ahead))

    def _json(self, value: Any) -> None:
        self._answer(200, json.dumps(value).encode(), "application/json")

    def _answer(self, status: int, data: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: what came is at /sim/sent."""


def _payload(part: Any) -> str:
    data = part.get_payload(decode=True)
    return data.decode("utf-8", "replace") if isinstance(data, bytes) else ""
