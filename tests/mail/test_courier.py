"""The way to the mail server: against aiosmtpd, and against sockets that answer what a test says."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.policy import default
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult

from sipsms.core.message import Deferred, Delivered, Delivery, Media, Outcome, Rejected, Scope
from sipsms.mail.courier import MailCourier
from sipsms.mail.settings import Smtp
from tests.support.http.client import delivery, message
from tests.support.messaging.media import JPEG
from tests.support.node.certificates import Authority


class Shelf:
    """A media store with one file; what it does not have is gone."""

    async def save(self, data: bytes, name: str = "") -> Media:
        raise NotImplementedError

    async def read(self, media: Media) -> bytes:
        if media.token != "here":
            raise FileNotFoundError(2, "No such file")
        return JPEG

    def url(self, media: Media) -> str:
        return f"https://host/media/{media.token}/{media.name}" if media.token else media.url


def courier(port: int, **options: Any) -> MailCourier:
    smtp = Smtp.model_validate({"host": "127.0.0.1", "port": port, "from": "sms@example.net", "timeout": 2, **options})
    return MailCourier(smtp, "sip.example.net", Shelf(), jitter=lambda: 0.0)


def to(attempts: int = 1, **fields: Any) -> Delivery:
    return delivery(message(**fields), "mail", attempts, destination="alice@example.com", id=9)


# --- a real server ----------------------------------------------------------------------------------------------------


class Inbox:
    def __init__(self) -> None:
        self.taken: list[Any] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.taken.append((session, envelope))
        return "250 2.0.0 Ok: queued as 4F"


@pytest.fixture
def site(tmp_path: Path) -> Any:
    authority = Authority()
    files = authority.issue(tmp_path, "127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    return context, authority.write(tmp_path / "ca.pem")


@asynccontextmanager
async def server(**options: Any) -> AsyncIterator[tuple[Inbox, int]]:
    inbox = Inbox()
    make = partial(SMTP, inbox, hostname="mail.example.net", **options)
    listener = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    try:
        yield inbox, listener.sockets[0].getsockname()[1]
    finally:
        listener.close()


@pytest.mark.req("S-030", "S-033")
async def test_a_message_is_delivered_to_the_mail_server() -> None:
    async with server() as (inbox, port):
        assert await courier(port).deliver(to(text="grüß\n.\ndich")) == Delivered("2.0.0 Ok: queued as 4F")
        ((session, envelope),) = inbox.taken
        assert session.host_name == "sip.example.net"
        assert (envelope.mail_from, envelope.rcpt_tos) == ("sms@example.net", ["alice@example.com"])
        mail = message_from_bytes(envelope.content, policy=default)
        assert mail["Subject"] == "[#US004412] Message sent to 7185550100"
        assert mail.get_content().replace("\r\n", "\n") == "grüß\n.\ndich\n"


async def test_files_are_attached_and_missing_files_are_linked() -> None:
    media = (
        Media("image/jpeg", "a.jpg", len(JPEG), "here"),
        Media("image/jpeg", "b.jpg", 5, "gone"),
        Media(url="https://carrier/c"),
        Media("video/mp4", "big.mp4", 100_000_000, "here"),
    )
    async with server() as (inbox, port):
        assert isinstance(await courier(port).deliver(to(media=media)), Delivered)
        mail = message_from_bytes(inbox.taken[0][1].content, policy=default)
        assert [part.get_content() for part in mail.iter_attachments()] == [JPEG]
        text = mail.get_body().get_content()
        assert text.split()[1:] == [
            "https://host/media/gone/b.jpg", "https://carrier/c", "https://host/media/here/big.mp4"
        ]  # fmt: skip


@pytest.mark.parametrize("tls", ["auto", "required"])
async def test_starttls_is_used_before_the_login(site: Any, tls: str) -> None:
    def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (b"me", b"s3cret"))

    context, ca = site
    async with server(tls_context=context, authenticator=check, auth_required=True) as (inbox, port):
        good = courier(port, tls=tls, ca=str(ca), username="me", password="s3cret")
        assert isinstance(await good.deliver(to()), Delivered)
        assert inbox.taken[0][0].ssl is not None
        bad = await courier(port, tls=tls, ca=str(ca), username="me", password="wrong").deliver(to())
        assert isinstance(bad, Deferred)
        assert bad.scope is Scope.COURIER
        unchecked = await courier(port, tls=tls, username="me", password="s3cret").deliver(to())
        assert isinstance(unchecked, Deferred), "a password went to a server that nobody vouches for"
        assert len(inbox.taken) == 1


async def test_starttls_is_used_if_the_server_offers_it(site: Any) -> None:
    context, _ = site
    async with server(tls_context=context) as (inbox, port):
        assert isinstance(await courier(port).deliver(to()), Delivered)
        assert inbox.taken[0][0].ssl is not None
        refused = await courier(port, tls="required").deliver(to())
        assert isinstance(refused, Deferred)
        assert refused.scope is Scope.COURIER


async def test_a_server_without_starttls_is_refused_if_it_is_required() -> None:
    async with server() as (inbox, port):
        outcome = await courier(port, tls="required").deliver(to())
        assert isinstance(outcome, Deferred)
        assert outcome.scope is Scope.COURIER
        assert inbox.taken == []


# --- faults -----------------------------------------------------------------------------------------------------------

CLOSE = "close"
HANG = "hang"


@asynccontextmanager
async def scripted(**answers: str) -> AsyncIterator[tuple[list[bytes], int]]:
    """Answers by command (greeting, ehlo, mail, rcpt, data, end, ...); what is not given is friendly."""
    heard: list[bytes] = []
    usual = {"greeting": "220 hi", "ehlo": "250 hi", "data": "354 go", "quit": "221 bye"}

    async def say(writer: asyncio.StreamWriter, what: str) -> bool:
        answer = answers.get(what, usual.get(what, "250 ok"))
        if answer == HANG:
            await asyncio.sleep(3600)
        if answer == CLOSE:
            writer.close()
            return False
        writer.write(answer.encode() + b"\r\n")
        return True

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            going = await say(writer, "greeting")
            while going and (line := await reader.readline()):
                heard.append(line)
                command = line[:4].decode().strip().lower()
                going = await say(writer, command)
                if going and command == "data" and answers.get("data", "354")[:3] == "354":
                    heard.append(await reader.readuntil(b"\r\n.\r\n"))
                    going = await say(writer, "end")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield heard, listener.sockets[0].getsockname()[1]
    finally:
        listener.close()


async def outcome(attempts: int = 1, timeout: float = 2, **answers: str) -> Outcome:
    async with scripted(**answers) as (_, port):
        return await courier(port, timeout=timeout).deliver(to(attempts))


@pytest.mark.req("F-37")
@pytest.mark.parametrize(
    "answers",
    [
        {"greeting": "421 too busy"}, {"greeting": "450 later"}, {"greeting": "554 no"}, {"greeting": CLOSE},
        {"greeting": "SSH-2.0-x"}, {"ehlo": "421 bye", "helo": "421 bye"}, {"ehlo": CLOSE}, {"mail": "421 bye"},
        {"mail": "451 later"}, {"mail": "530 log in first"}, {"mail": "550 not you"}, {"rcpt": "421 bye"},
        {"data": "421 bye"}, {"end": "421 bye"},
    ],
    ids=str,
)  # fmt: skip
async def test_an_error_of_the_server_defers_the_courier(answers: dict[str, str]) -> None:
    """Every other message would meet it too; none is lost by it."""
    result = await outcome(**answers)
    assert isinstance(result, Deferred), result
    assert result.scope is Scope.COURIER


async def test_a_wrong_password_defers_the_courier() -> None:
    async with scripted(ehlo="250-hi\r\n250 AUTH PLAIN", auth="535 5.7.8 wrong") as (_, port):
        result = await courier(port, tls="off", username="me", password="s3cret").deliver(to())
        assert result == Deferred("mail server: 535 5.7.8 wrong", scope=Scope.COURIER)


@pytest.mark.req("F-37")
async def test_an_unreachable_server_defers_the_courier() -> None:
    async with scripted() as (_, port):
        pass
    result = await courier(port).deliver(to())
    assert isinstance(result, Deferred)
    assert result.scope is Scope.COURIER


@pytest.mark.req("F-37")
@pytest.mark.parametrize("where", ["rcpt", "data", "end"])
async def test_a_temporary_error_defers_the_message(where: str) -> None:
    result = await outcome(**{where: "451 4.7.1 greylisted"})
    assert result == Deferred("mail server: 451 4.7.1 greylisted", 300.0, scope=Scope.MESSAGE)


@pytest.mark.req("F-37")
async def test_the_pauses_between_attempts_grow() -> None:
    pauses = [(await outcome(attempt, rcpt="450 full")) for attempt in (1, 2, 3, 4, 5, 60)]
    assert [one.retry for one in pauses if isinstance(one, Deferred)] == [300, 600, 1200, 2400, 4000, 4000]


@pytest.mark.req("F-37")
@pytest.mark.parametrize("where", ["rcpt", "data", "end"])
async def test_a_permanent_error_rejects_the_message(where: str) -> None:
    assert await outcome(**{where: "550 5.1.1 no such user"}) == Rejected("5.1.1 no such user", "550")


async def test_a_message_that_is_too_large_is_rejected() -> None:
    assert await outcome(mail="552 too large") == Rejected("too large", "552")


@pytest.mark.req("F-37")
@pytest.mark.parametrize("how", [CLOSE, HANG])
@pytest.mark.parametrize("where", ["mail", "rcpt", "data", "end"])
async def test_a_lost_connection_defers_the_message(where: str, how: str) -> None:
    result = await outcome(timeout=0.2, **{where: how})
    assert isinstance(result, Deferred)
    assert (result.scope, result.retry) == (Scope.MESSAGE, 300.0)


async def test_a_repeated_message_has_the_same_message_id() -> None:
    ids: list[bytes] = []
    for end in (CLOSE, "250 ok"):
        async with scripted(end=end) as (heard, port):
            await courier(port).deliver(to(1 if end == CLOSE else 2))
            (data,) = [one for one in heard if one.startswith(b"From:")]
            ids += [line for line in data.split(b"\r\n") if line.startswith(b"Message-ID:")]
    assert ids[0] == ids[1] == b"Message-ID: <sms.4412.9.1790965471@sip.example.net>"


BREAKS: list[Callable[[Delivery], Delivery]] = [
    lambda one: one._replace(destination="a@b\r\nRCPT TO:<evil@example.org>"),
    lambda one: one._replace(destination="<evil@example.org>\r\nDATA"),
    lambda one: one._replace(destination="ü@example.org"),
    lambda one: one._replace(destination=""),
]


@pytest.mark.parametrize("broken", BREAKS)
async def test_no_text_can_add_a_smtp_command(broken: Callable[[Delivery], Delivery]) -> None:
    async with scripted() as (heard, port):
        assert isinstance(await courier(port).deliver(broken(to())), Rejected)
        assert not [line for line in heard if b"evil" in line]


async def test_control_characters_of_the_server_are_removed() -> None:
    assert await outcome(rcpt="550 \x1b[31mred\x07") == Rejected("[31mred", "550")


def test_contradictory_mail_settings_are_refused() -> None:
    def read(**more: Any) -> Smtp:
        return Smtp.model_validate({"host": "mail.example.net", "from": "a@b.c", **more})

    assert (read().port, read().tls, read().timeout) == (25, "auto", 30.0)
    login = {"username": "me", "password": "s3cret"}
    assert read(**login).password is not None
    assert read(**login, tls="off", host="127.0.0.1").tls == "off"
    for wrong in (
        {"username": "me"},
        {"password": "x"},
        {**login, "tls": "off"},
        {"from": "a b"},
        {"from": "a@b\r\nX"},
    ):
        with pytest.raises(ValueError):
            read(**wrong)


async def test_unreadable_certificates_defer_the_courier(tmp_path: Path) -> None:
    for ca in (tmp_path / "none.pem", tmp_path):
        async with scripted() as (heard, port):
            result = await courier(port, tls="required", ca=str(ca)).deliver(to())
            assert isinstance(result, Deferred)
            assert result.scope is Scope.COURIER
            assert heard == []
