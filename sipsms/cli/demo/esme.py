"""A customer's SMPP program for the demo: binds in a thread of its own, sends, and collects what it receives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from threading import Thread
from types import TracebackType
from typing import Any, NamedTuple, Self

from sipsms.core.smpp_url import SmppUrl
from sipsms.smpp.bind import Bind, Target
from sipsms.smpp.courier import Gone
from sipsms.smpp.data_coding import choose, decode, is_receipt
from sipsms.smpp.pdu import Command, Pdu
from sipsms.smpp.settings import SmppSettings


class Heard(NamedTuple):
    """A message or delivery receipt that the program received."""

    source: str
    text: str
    is_receipt: bool


class EsmeFailed(Exception):
    """The program failed. The text is one line for the person who watches the demo."""


class Esme:
    def __init__(self, host: str, port: int, username: str, password: str) -> None:
        self.heard: list[Heard] = []
        self._host = host
        self._target = Target(SmppUrl(False, host, port), username, password, SmppSettings().limits)
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        """Bind to the server. Raises EsmeFailed."""
        self._thread.start()
        try:
            self._do(self._open())
        except Gone as error:
            self._stop()
            raise EsmeFailed(str(error)) from None
        return self

    async def _open(self) -> None:
        """Bind, with retries: the server may not have loaded a new user yet. Raises Gone."""
        for last in (False, False, True):
            self._link = Bind(self._target, Command.BIND_TRANSCEIVER, time.monotonic, self._asked, self._resolve)
            try:
                await self._link.open()
                break
            except Gone:
                if last:
                    raise

    async def _resolve(self, _host: str, _port: int) -> list[str]:
        return [self._host]

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._do(self._link.close())
        self._stop()

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _asked(self, link: Bind, pdu: Pdu) -> None:
        fields = pdu.fields
        octets, coding = fields["short_message"], fields["data_coding"]
        text = decode(octets, "ucs2" if coding == 8 else "gsm")
        self.heard.append(Heard(fields["source_addr"], text, is_receipt(fields["esm_class"])))
        link.answer(pdu)

    def send(self, source: str, destination: str, text: str) -> str:
        """Submit a message. Return the server's message id. Raises EsmeFailed."""
        coding, octets = choose(text)
        fields = {
            "source_addr": source, "destination_addr": destination, "registered_delivery": 1, "data_coding": coding,
            "short_message": octets,
        }  # fmt: skip
        answer: Pdu = self._do(self._link.ask(Command.SUBMIT_SM, fields, {}))
        if answer.status:
            raise EsmeFailed(f"submit_sm was answered {answer.status:#x}")
        return str(answer.fields["message_id"])

    def wait(self, what: Callable[[Heard], bool], seconds: float, meanwhile: Callable[[], None]) -> Heard | None:
        """Return the first received message that `what` accepts; None if none comes in time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if (found := next(filter(what, self.heard), None)) is not None:
                return found
            meanwhile()
        return None
