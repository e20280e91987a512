"""What a message looks like as an e-mail, read back as a mail program would."""

from __future__ import annotations

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsms.core.message import Delivery
from sipsms.mail.mime import Part, compose, subject
from tests.support.http.client import delivery, message
from tests.support.messaging.media import JPEG

SENDER = "sms@example.net"
HEADERS = {"from", "to", "reply-to", "subject", "date", "message-id", "references", "auto-submitted",
           "x-auto-response-suppress", "content-type", "content-transfer-encoding", "mime-version"}  # fmt: skip


def to(text: str = "hello", **fields: Any) -> Delivery:
    return delivery(message(text, **fields), "mail", destination="alice@example.com", id=9)


def read(what: Delivery, *parts: Part, reply_to: str = "") -> EmailMessage:
    data = compose(what, SENDER, "sip.example.net", parts, reply_to).as_bytes()
    return cast(EmailMessage, message_from_bytes(data, policy=default))


@pytest.mark.req("S-030", "S-033")
def test_the_mail_has_the_usual_headers() -> None:
    mail = read(to())
    assert mail["From"] == "2125550123 <sms@example.net>"
    assert mail["To"] == "alice@example.com"
    assert mail["Reply-To"] == "sms@example.net"
    assert mail["Subject"] == "[#US004412] Message sent to 7185550100"
    assert mail["Date"] == "Fri, 02 Oct 2026 18:24:31 +0000"
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().strip() == "hello"
    assert read(to(), reply_to="r.abc@example.net")["Reply-To"] == "r.abc@example.net"


@pytest.mark.req("S-033")
def test_the_id_in_the_subject_has_six_digits_or_more() -> None:
    assert subject(message(id=1)).startswith("[#US000001] ")
    assert subject(message(id=12345678)).startswith("[#US12345678] ")


def test_an_alarm_is_addressed_to_the_operator() -> None:
    alarm = message("The webhook of 555 is off: 410\nsecond line", source="sipsms", did="")
    assert subject(alarm) == "sipsms: The webhook of 555 is off: 410"


@pytest.mark.req("G20", "S-034")
def test_the_mail_asks_for_no_automatic_answer() -> None:
    mail = read(to())
    assert (mail["Auto-Submitted"], mail["X-Auto-Response-Suppress"]) == ("auto-generated", "All")
    assert mail["Precedence"] is None


@pytest.mark.req("F-37")
def test_a_repeated_mail_has_the_same_message_id() -> None:
    first, again, other = read(to()), read(to()._replace(attempts=7)), read(to()._replace(id=10))
    assert first["Message-ID"] == again["Message-ID"] == "<sms.4412.9.1790965471@sip.example.net>"
    assert other["Message-ID"] != first["Message-ID"]


def test_a_conversation_is_one_thread() -> None:
    first, second, other = read(to(id=1)), read(to(id=2)), read(to(source="2125550199"))
    assert first["References"] == second["References"] != other["References"]


@pytest.mark.parametrize(
    "text", ["grüß dich 😀", "x" * 3000, "a\nb\n\n.\nc", "", "From here\n.\r\n.\r\nMAIL", "\x00\x01"]
)
def test_texts_of_all_kinds_are_readable(text: str) -> None:
    mail = read(to(text))
    assert mail.get_content_charset() == "utf-8"
    assert mail.get_content().replace("\r\n", "\n") == text.replace("\r\n", "\n") + "\n"


def test_half_a_surrogate_pair_is_replaced() -> None:
    assert read(to("a\ud83d")).get_content().strip() == "a?"


@pytest.mark.parametrize("word", ["x\r\nBcc: evil@example.org", "x\nSubject: y", "a\x00b", 'a" <evil@example.org>, "b',
                                  "\u202egnp.exe", "é" * 40, "a,b;c:d", "=?utf-8?q?a=0D=0ABcc:=20x@y.z?="])  # fmt: skip
def test_a_sender_cannot_add_a_header(word: str) -> None:
    mail = read(to(source=word, did=word), Part("image/jpeg", word, JPEG))
    assert {name.lower() for name in mail.keys()} == HEADERS - {"content-transfer-encoding"}  # noqa: SIM118
    (sender,) = mail["From"].addresses
    assert (sender.username, sender.domain) == ("sms", "example.net")
    (recipient,) = mail["To"].addresses
    assert str(recipient) == "alice@example.com"


@given(st.text(max_size=80), st.text(max_size=40), st.text(max_size=40))
def test_any_text_and_sender_gives_a_valid_mail(text: str, source: str, name: str) -> None:
    data = compose(to(text, source=source), SENDER, "h.example", [Part("image/png", name, b"x")]).as_bytes()
    assert data.isascii()
    assert all(len(line) <= 998 for line in data.split(b"\r\n"))
    mail = message_from_bytes(data, policy=default)
    assert {key.lower() for key in mail.keys()} == HEADERS - {"content-transfer-encoding"}  # noqa: SIM118


@pytest.mark.parametrize("address", ["", "alice", "a@b\r\nRCPT TO:<x@y>", "a b@c", "@", "a@b, c@d", "a@b" * 99,
                                     "=?utf-8?q?a=0D=0ABcc=3A=20x?=@y.z", ".a@b", "a..b@c", "a@b..c"])  # fmt: skip
def test_an_invalid_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError):
        compose(to()._replace(destination=address), SENDER, "h.example").as_bytes()


@pytest.mark.req("S-042")
def test_files_are_attached_or_linked() -> None:
    parts = [
        Part("image/jpeg", "../my photo.html", JPEG),
        Part("video/mp4", "film.mp4", None, "https://host/media/t/film.mp4"),
        Part("text/html", "page.html", b"<script>"),
    ]
    mail = read(to("look"), *parts)
    body = mail.get_body()
    assert body is not None
    assert body.get_content().replace("\r\n", "\n") == "look\n\nhttps://host/media/t/film.mp4\n"
    first, second = mail.iter_attachments()
    assert (first.get_content_type(), first.get_filename(), first.get_content()) == ("image/jpeg", "my_photo.jpg", JPEG)
    assert (second.get_content_type(), second.get_filename()) == ("application/octet-stream", "page.bin")
