"""Wrapped content (C-105), notices of delivery (C-106), and the sender's other devices (G02)."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from tests.support.sip.wire import Incoming, Phone, Silence

from .conftest import MakePhone
from .lab import Account, Lab

TO = "5551234567"
IMDN = "{urn:ietf:params:xml:ns:imdn}"


def _cpim(author: str, text: str = "hello", *more: str, kind: str = "text/plain") -> bytes:
    outer = [f"From: <{author}>", f"To: <im:{TO}@sip.example.net>", "DateTime: 2026-11-22T00:00:00Z", *more]
    return ("\r\n".join(outer) + f"\r\n\r\nContent-Type: {kind}\r\n\r\n{text}").encode()


_WANTED = (
    "NS: imdn <urn:ietf:params:imdn>", "imdn.Message-ID: 34jk324j", "imdn.Disposition-Notification: positive-delivery",
)  # fmt: skip


@pytest.mark.req("C-105")
@pytest.mark.parametrize("author", ["sip:ceo@sip.example.net", "im:5550009999@x", "tel:5550009999", "sip:anonymous@x"])
def test_c105_another_author_inside(lab: Lab, account: Account, phone: Phone, author: str) -> None:
    assert phone.message(TO, _cpim(author), "message/cpim").status == 403
    assert lab.rows(account.did) == []


@pytest.mark.req("C-105")
def test_c105_the_sender_inside(lab: Lab, account: Account, phone: Phone) -> None:
    for author in (f"sip:{account.name}@sip.example.net", f"im:{account.did}@x", f"tel:{account.did}"):
        assert phone.message(TO, _cpim(author, author), "message/cpim").status == 202
    assert len(lab.texts(account.did)) == 3


@pytest.mark.req("C-105")
def test_c105_required_header_that_is_not_known(lab: Lab, account: Account, phone: Phone) -> None:
    more = ("NS: MyFeatures <mid:MessageFeatures@id.foo.com>", "Require: MyFeatures.VitalMessageOption")
    response = phone.message(TO, _cpim(account.name, "x", *more).replace(b"<", b"<sip:", 1), "message/cpim")
    assert response.status in (400, 415)
    body = _cpim(f"sip:{account.name}@x", "x", *more)
    response = phone.message(TO, body, "message/cpim")
    assert (response.status, "text/plain" in response.get("accept")) == (415, True)
    assert lab.rows(account.did) == []


@pytest.mark.req("C-089", "C-106")
@pytest.mark.parametrize("kind", ["message/imdn+xml", "application/im-iscomposing+xml"])
def test_notices_inside_a_wrapper_are_no_sms(lab: Lab, account: Account, phone: Phone, kind: str) -> None:
    response = phone.message(TO, _cpim(f"sip:{account.name}@x", "<imdn/>", *_WANTED, kind=kind), "message/cpim")
    assert response.status == 200
    assert lab.rows(account.did) == []


def _notice(request: Incoming) -> tuple[str, str]:
    """(Message-ID, recipient) of a notice of delivery, as RFC 5438 section 11.1.9 writes it."""
    assert request.get("content-type") == "message/cpim"
    _, inner, document = request.text.split("\r\n\r\n")
    assert "Content-Type: message/imdn+xml" in inner
    tree = ET.fromstring(document)
    assert tree.find(f"{IMDN}delivery-notification/{IMDN}status/{IMDN}delivered") is not None
    return tree.findtext(f"{IMDN}message-id") or "", tree.findtext(f"{IMDN}recipient-uri") or ""


@pytest.mark.req("C-106")
def test_c106_notice_when_the_far_side_has_it(lab: Lab, account: Account, phone: Phone) -> None:
    phone.register()
    body = _cpim(f"sip:{account.name}@x", "tell me when", *_WANTED)
    assert phone.message(TO, body, "message/cpim").status == 202
    assert _notice(phone.take()) == ("34jk324j", f"im:{TO}")
    phone.assert_silent()
    assert lab.texts(account.did) == ["tell me when"]


@pytest.mark.req("C-106")
def test_c106_not_wanted_not_sent(lab: Lab, account: Account, phone: Phone) -> None:
    phone.register()
    for more in ((), _WANTED[:2], (*_WANTED[:2], "imdn.Disposition-Notification: negative-delivery, display")):
        assert phone.message(TO, _cpim(f"sip:{account.name}@x", "x", *more), "message/cpim").status == 202
    lab.delivery(account.did, state="delivered")
    phone.assert_silent()


@pytest.mark.req("C-106")
def test_c106_notice_goes_to_the_device_that_asked(lab: Lab, account: Account, make_phone: MakePhone) -> None:
    one, other = make_phone(account, "udp"), make_phone(account, "tcp")
    one.register()
    other.register()
    assert other.message(TO, _cpim(f"sip:{account.name}@x", "x", *_WANTED), "message/cpim").status == 202
    assert _notice(other.take())[0] == "34jk324j"
    one.assert_silent()


@pytest.mark.req("C-106")
def test_c106_waits_for_the_far_side_and_survives_a_restart(lab: Lab, make_phone: MakePhone) -> None:
    """Between accounts: bob is away, the server is killed, bob comes back."""
    sender, receiver = lab.account(), lab.account()
    alice = make_phone(sender, "udp")
    instance = '+sip.instance="<urn:uuid:00000000-0000-1000-8000-00000000a11c>"'
    alice.register(f"<{alice.contact}>;{instance}")
    body = _cpim(f"sip:{sender.name}@x", "are you there", *_WANTED)
    assert alice.message(receiver.name, body, "message/cpim").status == 202
    alice.assert_silent(0.2)
    lab.kill()
    lab.start()
    bob = make_phone(receiver, "udp")
    bob.register()
    assert bob.take().text == "are you there"
    assert _notice(alice.take()) == ("34jk324j", f"im:{receiver.name}")
    with pytest.raises(Silence):
        alice.request(0.3)


@pytest.mark.req("C-106")
def test_c106_phone_that_takes_no_wrapper_gets_it_bare(lab: Lab, account: Account, phone: Phone) -> None:
    phone.register()
    assert phone.message(TO, _cpim(f"sip:{account.name}@x", "x", *_WANTED), "message/cpim").status == 202
    first = phone.request()
    phone.answer(first, 415, "Unsupported Media Type")
    second = phone.take()
    assert second.get("content-type") == "message/imdn+xml"
    assert "34jk324j" in second.text


@pytest.mark.req("C-106", "A-31")
@pytest.mark.parametrize("name", ["x" * 129, "a b", "\x07bell", "gr\u00fc\u00df"])
def test_a_message_id_that_is_none_is_not_answered(lab: Lab, account: Account, phone: Phone, name: str) -> None:
    phone.register()
    more = (_WANTED[0], f"imdn.Message-ID: {name}", _WANTED[2])
    assert phone.message(TO, _cpim(f"sip:{account.name}@x", "sent all the same", *more), "message/cpim").status == 202
    lab.delivery(account.did, state="delivered")
    phone.assert_silent()


@pytest.mark.req("C-106", "A-31")
def test_a_long_notice_is_not_cut(lab: Lab, account: Account, udp_phone: Phone) -> None:
    udp_phone.register()
    more = (_WANTED[0], "imdn.Message-ID: " + "&<" * 64, _WANTED[2])
    assert udp_phone.message(TO, _cpim(f"sip:{account.name}@x", "x", *more), "message/cpim").status == 202
    assert _notice(udp_phone.take())[0] == "&<" * 64
    udp_phone.assert_silent()


@pytest.mark.req("C-106", "G02")
def test_a_copy_on_the_own_phone_is_no_delivery(lab: Lab, make_phone: MakePhone) -> None:
    account = lab.account()
    lab.cli("account", "set", account.name, "--copies")
    lab.cli("carriers", "pause", "sim")
    try:
        one, other = make_phone(account, "udp"), make_phone(account, "tcp")
        one.register()
        other.register()
        body = _cpim(f"sip:{account.name}@x", "tell me when", *_WANTED)
        assert one.message(TO, body, "message/cpim").status == 202
        other.take()
        lab.delivery(account.did, courier="sip", state="delivered")
        one.assert_silent()
    finally:
        lab.cli("carriers", "resume", "sim")
    assert _notice(one.take(5)) == ("34jk324j", f"im:{TO}")


# --- copies ----------------------------------------------------------------------------------------------------------


@pytest.mark.req("G02")
def test_own_messages_on_the_other_devices(lab: Lab, make_phone: MakePhone) -> None:
    account = lab.account()
    lab.cli("account", "set", account.name, "--copies")
    one, other, away = make_phone(account, "udp"), make_phone(account, "tcp"), make_phone(account, "tls")
    for phone in (one, other, away):
        phone.register()
    away.close()
    lab.wait(lambda: len(lab.bindings(account.name)) == 2)
    assert one.message(TO, "written on one").status == 202
    copy = other.take()
    assert copy.text == "Me: written on one"
    assert copy.get("from").startswith(f"<sip:{TO}@")
    assert (copy.get("x-sms-copy"), copy.get("x-sms-to")) == ("sent", account.did)
    one.assert_silent()
    back = make_phone(account, "tls")
    back.register(f"<{away.contact}>")
    assert back.take().text == "Me: written on one"
    (row,) = lab.rows(account.did)
    assert row["text"] == "written on one"


@pytest.mark.req("G02")
def test_copies_are_off_by_default(lab: Lab, account: Account, make_phone: MakePhone) -> None:
    one, other = make_phone(account, "udp"), make_phone(account, "tcp")
    one.register()
    other.register()
    assert one.message(TO, "alone").status == 202
    other.assert_silent()


@pytest.mark.req("G02")
def test_no_copies_of_what_an_unknown_device_sent(lab: Lab, make_phone: MakePhone) -> None:
    """From where nobody is registered: it might be any of them, and none gets its own words back (KM#61)."""
    account = lab.account()
    lab.cli("account", "set", account.name, "--copies")
    one, stranger = make_phone(account, "udp"), make_phone(account, "udp")
    one.register()
    assert stranger.message(TO, "from where").status == 202
    one.assert_silent()


@pytest.mark.req("G02")
def test_state_of_a_message_is_not_that_of_its_copies(lab: Lab, make_phone: MakePhone) -> None:
    account = lab.account()
    lab.cli("account", "set", account.name, "--copies")
    lab.cli("carriers", "pause", "sim")
    one, other = make_phone(account, "udp"), make_phone(account, "tcp")
    one.register()
    other.register()
    try:
        lab.wait(
            lambda: lab.listed("carriers")[0]["state"] != "running" if "state" in lab.listed("carriers")[0] else True
        )
        assert one.message(TO, "not sent yet").status == 202
        other.take()
        lab.delivery(account.did, courier="sip", state="delivered")
        assert lab.rows(account.did)[0]["state"] == "queued"
    finally:
        lab.cli("carriers", "resume", "sim")
