"""SIP over WebSocket (RFC 7118): one SIP message in one WebSocket message.

The `websockets` library does the framing. No extension is negotiated, so no input is inflated. Messages, their
fragments and the handshake are bounded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from websockets.datastructures import Headers
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from sipsms.sip.message import MAX_STREAM_MESSAGE
from sipsms.sip.tls import TlsLayer
from sipsms.sip.transport import StreamConnection, Streams

_MAX_FRAGMENTS = 64
_MAX_HANDSHAKE = 16 * 1024
_QUIET = logging.getLogger("sipsms.websocket")
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False
_QUIET.setLevel(logging.CRITICAL)

IsAllowed = Callable[[str], bool]  # Origin (RFC 6454 section 7) -> True if its pages may use this server


class WebSocketConnection(StreamConnection):
    def __init__(self, pool: Streams, tls: TlsLayer | None, is_allowed: IsAllowed) -> None:
        super().__init__(pool, tls)
        self._is_allowed = is_allowed
        self._protocol = ServerProtocol(subprotocols=["sip"], max_size=MAX_STREAM_MESSAGE, logger=_QUIET)  # type: ignore[list-item]
        self._handshake = bytearray()
        self._is_refused = False  # answered without an upgrade
        self._parts: list[bytes] = []

    def send(self, data: bytes) -> bool:
        """Send one SIP message: as text if it is UTF-8, else as binary.

        Browser phones expect text.
        """
        protocol = self._protocol
        if protocol.state is not State.OPEN:
            return False
        (protocol.send_text if _is_utf8(data) else protocol.send_binary)(data)
        return self._flush()

    def close(self) -> None:
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(CloseCode.GOING_AWAY)
            self._flush()
        super().close()

    def _received(self, data: bytes) -> None:
        if self._protocol.state is not State.CONNECTING:
            self._read(data)
        elif not self._is_refused:
            self._shake_hands(data)

    def _shake_hands(self, data: bytes) -> None:
        """Answer the client's request once it is whole; what it sends behind the request is read after an upgrade."""
        self._handshake += data
        end = self._handshake.find(b"\r\n\r\n")
        if max(end, 0 if end >= 0 else len(self._handshake)) > _MAX_HANDSHAKE:
            self._is_refused = True
            self._write(b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n\r\n")
            super().close()
        elif end >= 0:
            head, rest = bytes(self._handshake[: end + 4]), bytes(self._handshake[end + 4 :])
            self._handshake.clear()
            self._read(head)
            if self._protocol.state is State.OPEN and rest:
                self._read(rest)

    def _read(self, data: bytes) -> None:
        protocol = self._protocol
        protocol.receive_data(data)
        for event in protocol.events_received():
            if isinstance(event, Request):
                self._upgrade(event)
            elif isinstance(event, Frame):
                self._frame(event)
        self._flush()
        self._bound_part()
        if self._is_refused or protocol.close_expected() or protocol.state is State.CLOSED:
            self._is_refused = True
            super().close()

    def _has_part(self) -> bool:
        return self._protocol.state is State.OPEN and (bool(self._parts) or bool(self._protocol.reader.buffer))

    def _upgrade(self, request: Request) -> None:
        origins = request.headers.get_all("Origin")
        if len(origins) > 1:
            response = self._protocol.reject(400, "more than one Origin\n")
        elif origins and not self._is_allowed(origins[0]):
            response = self._protocol.reject(403, f"Origin {origins[0][:100]!a} is not allowed here\n")
        else:
            response = self._protocol.accept(request)
        if response.status_code != 101:
            response, self._is_refused = _closing(response), True
        self._protocol.send_response(response)

    def _frame(self, frame: Frame) -> None:
        is_data = frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)
        if not (is_data and frame.fin) and not self._pool.receiver.tolerates(self):
            return
        if not is_data:
            self.kept_alive()
            return
        self._parts.append(bytes(frame.data))
        if len(self._parts) > _MAX_FRAGMENTS:
            self._parts.clear()
            self._protocol.fail(CloseCode.MESSAGE_TOO_BIG, "too many fragments")
        elif frame.fin:
            data = b"".join(self._parts)
            self._parts.clear()
            self._pool.receiver.message(data, self)

    def _flush(self) -> bool:
        data = b"".join(self._protocol.data_to_send())
        return self._write(data) if data else self.open


def _closing(response: Response) -> Response:
    headers = Headers(response.headers)
    headers["Connection"] = "close"
    return Response(response.status_code, response.reason_phrase, headers, response.body)


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
