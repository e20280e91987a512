"""A carrier with scripted answers and a record of all requests.

A thread with an HTTP server on loopback. `stop` frees the port (connections are refused then), `start` takes it again.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

HANG_UP = "hang up"  # read the whole request, then close the connection without a word


@dataclass(frozen=True)
class Taken:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def fields(self) -> dict[str, str]:
        """Of a form or a query."""
        return dict(parse_qsl(self.body.decode() or urlsplit(self.path).query))


@dataclass
class Answer:
    """One scripted answer. `before` runs when the request has been read; it may wait."""

    status: int = 200
    body: Any = None  # None: {"data": {"id": "c-1"}} with a running number
    headers: dict[str, str] = field(default_factory=dict)
    before: Callable[[], object] | None = None


class StubCarrier:
    """`script(...)` queues answers; when they are used up, `default` answers."""

    def __init__(self) -> None:
        self.taken: list[Taken] = []
        self.default: Answer | str = Answer()
        self.on_taken: Callable[[Taken], object] = lambda taken: None
        self._script: deque[Answer | str] = deque()
        self._arrived = threading.Condition()
        self._server: _Server | None = None
        self.port = 0
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/send"

    def start(self) -> None:
        self._server = _Server(self, self.port)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def script(self, *answers: Answer | str) -> None:
        self._script.extend(answers)

    def wait(self, count: int, seconds: float = 15.0) -> list[Taken]:
        """Until `count` requests have come in all. Raises AssertionError when time is up."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self.taken) >= count, seconds):
                raise AssertionError(f"{len(self.taken)} requests within {seconds} s, expected {count}")
            return list(self.taken)

    # --- called by the server's threads ---

    def next_answer(self, taken: Taken) -> tuple[Answer | str, int]:
        with self._arrived:
            self.taken.append(taken)
            self.on_taken(taken)
            number = len(self.taken)
            self._arrived.notify_all()
            return (self._script.popleft() if self._script else self.default), number


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 512

    def __init__(self, stub: StubCarrier, port: int) -> None:
        self.stub = stub
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def server_close(self) -> None:
        super().server_close()
        for connection in list(self._connections):  # kept-alive ones would go on being served
            _shut(connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed: nothing to say."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: no 40 ms between them
    server: _Server

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        taken = Taken(self.command, self.path, headers, body, time.time())
        answer, number = self.server.stub.next_answer(taken)
        if isinstance(answer, str):
            self.close_connection = True
            _shut(self.connection)
            return
        if answer.before is not None:
            answer.before()
        payload = {"data": {"id": f"c-{number}"}} if answer.body is None else answer.body
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = _handle

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: what came is in `taken`."""


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
