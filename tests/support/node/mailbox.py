"""A mail server on loopback that accepts mail or gives scripted answers."""

from __future__ import annotations

import threading
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, Self

from aiosmtpd.controller import Controller

from tests.support.node.server import free_port


class Mailbox:
    """`refuse`: the answer to RCPT instead of taking it, for an address."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], EmailMessage]] = []
        self.refuse: dict[str, str] = {}
        self._changed = threading.Condition()
        self._controller = Controller(self, hostname="127.0.0.1", port=free_port())

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    @property
    def port(self) -> int:
        return int(self._controller.port)

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        with self._changed:
            self.mails.append((envelope.rcpt_tos, mail))
            self._changed.notify_all()
        return "250 OK"

    def wait(self, count: int, seconds: float = 10.0) -> list[tuple[list[str], EmailMessage]]:
        """Until `count` mails have come. Raises AssertionError when time is up."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.mails) >= count, seconds):
                raise AssertionError(f"{len(self.mails)} mails within {seconds} s, expected {count}")
            return list(self.mails)
