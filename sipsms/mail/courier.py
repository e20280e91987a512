"""Courier to the mail server (RFC 5321): a connection and an outcome for each message.

A failure before MAIL is caused by the server or the configuration, so it defers the whole courier. A failure after MAIL
concerns this message only. If the connection breaks after the text was sent, the message is sent again although the
server may have it, because a lost SMS is worse than a duplicate. Both copies have the same Message-ID, by which mail
servers and programs recognize the duplicate.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final

import aiosmtplib
from aiosmtplib import SMTPRecipientsRefused, SMTPResponseException, SMTPSenderRefused

from sipsms.core import log
from sipsms.core.message import Deferred, Delivered, Delivery, Media, Message, Outcome, Rejected, Scope
from sipsms.mail.mime import Part, compose
from sipsms.mail.settings import Smtp
from sipsms.messaging.media import MediaStore

RETRY_MIN: Final = 300.0  # seconds; a greylist accepts a retry after about this time
RETRY_MAX: Final = 4000.0
MAX_ATTACHED: Final = 8 * 1024 * 1024  # bytes in one e-mail; servers accept 10 MB and more, base64 adds a third
_SHUTTING_DOWN: Final = 421
_TOO_LARGE: Final = 552


class MailCourier:
    def __init__(
        self,
        smtp: Smtp,
        hostname: str,
        media: MediaStore,
        reply_to: Callable[[Message], str] = lambda message: "",
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`hostname`: our name in EHLO and Message-ID. `reply_to`: address for replies to a message; empty means the
        sender address.
        """
        self._smtp = smtp
        self._hostname = hostname
        self._media = media
        self._reply_to = reply_to
        self._jitter = jitter
        self._tls: ssl.SSLContext | None = None  # kept, because loading the system's certificates is slow

    async def deliver(self, delivery: Delivery) -> Outcome:
        parts = await self._parts(delivery.message)
        try:
            data = await self._written(delivery, parts)
        except ValueError:
            return Rejected("not an e-mail address that can be written to")
        try:
            client = self._client()
            await client.connect()
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return Deferred(f"mail server: {_told(error)}", scope=Scope.COURIER)
        try:
            return await self._send(client, delivery, data)
        finally:
            client.close()

    async def _written(self, delivery: Delivery, parts: list[Part]) -> bytes:
        """Return the e-mail's bytes; files are encoded in a thread, because that takes 0.1 s and more."""
        write = partial(compose, delivery, self._smtp.from_, self._hostname, parts, self._reply_to(delivery.message))
        if any(part.data for part in parts):
            return await asyncio.to_thread(lambda: write().as_bytes())
        return write().as_bytes()

    async def _send(self, client: aiosmtplib.SMTP, delivery: Delivery, data: bytes) -> Outcome:
        try:
            _, answer = await client.sendmail(self._smtp.from_, delivery.destination, data)
        except SMTPRecipientsRefused as error:
            return self._refused(error.recipients[0], delivery.attempts)
        except SMTPSenderRefused as error:
            # The sender is our own address, the same for every message, so the cause is not this message.
            if error.code == _TOO_LARGE:
                return self._refused(error, delivery.attempts)
            return Deferred(f"mail server: {_told(error)}", scope=Scope.COURIER)
        except SMTPResponseException as error:
            return self._refused(error, delivery.attempts)
        except (aiosmtplib.SMTPException, OSError) as error:
            return self._aside(f"mail server: {_told(error)}", delivery.attempts)
        except (ValueError, UnicodeError):
            return Rejected("not an e-mail address that can be written to")
        return Delivered(_printable(answer))

    def _refused(self, error: SMTPResponseException, attempts: int) -> Outcome:
        if error.code == _SHUTTING_DOWN:
            return Deferred(f"mail server: {_told(error)}", scope=Scope.COURIER)
        if 500 <= error.code < 600:
            return Rejected(_printable(error.message), str(error.code))
        return self._aside(f"mail server: {_told(error)}", attempts)

    def _aside(self, why: str, attempts: int) -> Deferred:
        pause = min(RETRY_MAX, RETRY_MIN * 2 ** min(max(attempts, 1) - 1, 10))
        pause = min(RETRY_MAX, pause * (1 + 0.1 * self._jitter()))
        return Deferred(why, retry=pause, scope=Scope.MESSAGE)

    async def _parts(self, message: Message) -> list[Part]:
        parts, room = [], MAX_ATTACHED
        for media in message.media:
            data = await self._data(media) if media.token and media.size <= room else None
            room -= len(data or b"")
            parts.append(Part(media.content_type, media.name, data, self._media.url(media)))
        return parts

    async def _data(self, media: Media) -> bytes | None:
        try:
            return await self._media.read(media)
        except OSError as error:
            log.warning("media_unreadable", token=media.token[:8], why=error.strerror or "gone")
            return None

    def _client(self) -> aiosmtplib.SMTP:
        smtp = self._smtp
        self._tls = self._tls or _tls_context(smtp)
        return aiosmtplib.SMTP(
            hostname=smtp.host, port=smtp.port, timeout=smtp.timeout, local_hostname=self._hostname,
            username=smtp.username, password=smtp.password.get_secret_value() if smtp.password else None,
            use_tls=smtp.tls == "implicit", start_tls=_start_tls(smtp), tls_context=self._tls,
        )  # fmt: skip


def _start_tls(smtp: Smtp) -> bool | None:
    """Return whether to use STARTTLS; None means if the server offers it."""
    if smtp.tls == "auto":
        return True if smtp.password else None
    return smtp.tls == "required"


def _tls_context(smtp: Smtp) -> ssl.SSLContext:
    """Return the TLS context; certificates are checked wherever the settings demand TLS.

    With `auto`, without password and `ca`, any certificate is accepted: TLS still keeps out passive listeners.
    """
    context = ssl.create_default_context(cafile=str(smtp.ca) if smtp.ca else None)
    if smtp.tls == "auto" and smtp.password is None and smtp.ca is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _told(error: BaseException) -> str:
    """Describe an error; the server's text has no control characters."""
    if isinstance(error, SMTPResponseException):
        return f"{error.code} {_printable(error.message)}".strip()
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        return "TLS failed"
    return _printable(str(error)) or type(error).__name__


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text[:200]).strip()
