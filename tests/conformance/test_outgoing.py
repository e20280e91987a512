"""What the server sends to phones: C-092, C-093, C-095 to C-097, and the voip.ms rules S-038, S-039, S-090 to S-093."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

import pytest

from tests.support.sip.wire import Phone, listening, param

from .conftest import MakePhone
from .lab import Account, Lab


@pytest.mark.req("S-038", "S-039", "S-090", "S-091", "S-093", "G05")
def test_s038_message_to_a_phone(lab: Lab, account: Account, phone: Phone) -> None:
    phone.register()
    lab.sms(account.did, "h\u00e9llo\nthere")
    request = phone.take()
    assert request.start == f"MESSAGE {phone.contact} SIP/2.0"
    assert re.fullmatch(rf"<sip:{lab.sender}@sip\.example\.net>;tag=\S+", request.get("from"))
    assert request.get("to") == f"<{phone.aor}>"
    assert request.get("x-sms-to") == account.did
    assert request.get("max-forwards") == "70"
    assert request.get("content-type").replace(" ", "").lower() == "text/plain;charset=utf-8"
    assert request.text == "h\u00e9llo\nthere"
    assert parsedate_to_datetime(request.get("date"))
    assert request.branch.startswith("z9hG4bK")
    assert len(request.all("via")) == 1
    for name in ("contact", "record-route", "authorization", "proxy-authorization", "require", "expires"):
        assert not request.has(name)
    lab.delivery(account.did, state="delivered", attempts=1)


@pytest.mark.req("S-038", "C-065a")
@pytest.mark.parametrize("user", ["sip:dev-0x5648%41b", "sip:a;b=c", "sips:x", "SIP:UPPER"])
def test_request_uri_is_the_contact_to_the_letter(lab: Lab, account: Account, phone: Phone, user: str) -> None:
    host, port = phone.wire.local
    uri = f"{user}@{host}:{port};transport={phone.wire.name.upper()};ob;line=abc%20d"
    phone.register(f'<{uri}>;+sip.instance="<urn:uuid:x>"')
    lab.sms(account.did, "exactly")
    assert phone.take().uri == uri


@pytest.mark.req("C-113")
def test_contact_headers_and_method_are_stripped(lab: Lab, account: Account, phone: Phone) -> None:
    host, port = phone.wire.local
    phone.register(f"<sip:x@{host}:{port};method=INVITE;transport={phone.wire.name}?Route=%3Csip:192.0.2.1%3E&X=y>")
    lab.sms(account.did, "clean")
    request = phone.take()
    assert request.uri == f"sip:x@{host}:{port};transport={phone.wire.name}"
    assert not request.has("route")


@pytest.mark.req("S-090", "G03")
def test_call_id_stays_the_same_for_one_delivery(lab: Lab, account: Account, phone: Phone) -> None:
    phone.register()
    lab.sms(account.did, "again")
    first = phone.take(status=486)
    lab.delivery(account.did, state="queued", attempts=1)
    phone.register()
    second = phone.take()
    assert second.call_id == first.call_id
    assert param(second.get("from"), "tag") == param(first.get("from"), "tag")
    assert second.branch != first.branch
    assert second.cseq > first.cseq
    assert second.body == first.body


@pytest.mark.req("C-092", "S-090")
def test_c092_large_message_goes_by_the_stream(lab: Lab, account: Account, make_phone: MakePhone) -> None:
    tcp, udp = make_phone(account, "tcp"), make_phone(account, "udp")
    device = f'+sip.instance="<urn:uuid:{account.name}>"'
    tcp.register(f"<{tcp.contact}>;reg-id=1;{device}")
    udp.register(f"<{udp.contact}>;reg-id=2;{device}")
    large = "\U0001f600" * 280
    lab.cli("receive", "--from", "5557770001", "--to", account.did, large)
    request = tcp.take()
    assert len(request.raw) > 1300
    assert request.text == large
    lab.sms(account.did, "small")
    assert udp.take().text == "small"
    tcp.assert_silent(0.1)


@pytest.mark.req("C-092")
@pytest.mark.parametrize("large", ["\U0001f600" * 600, "word " * 500, "e\u0301" * 700, "x" * 3000])
def test_c092_large_message_without_a_stream_goes_in_pieces(
    lab: Lab, account: Account, udp_phone: Phone, large: str
) -> None:
    udp_phone.register()
    lab.cli("receive", "--from", "5557770001", "--to", account.did, large)
    pieces = [udp_phone.take()]
    total = int(pieces[0].get("x-sms-part").split("/")[1])
    while len(pieces) < total:
        one = udp_phone.take()
        if all(one.branch != piece.branch for piece in pieces):  # else it comes again: we were slow to answer
            pieces.append(one)
    assert all(len(one.raw) <= 1300 for one in pieces)
    assert "".join(one.text for one in pieces) == large
    assert [one.get("x-sms-part") for one in pieces] == [f"{number}/{total}" for number in range(1, total + 1)]
    assert len({one.call_id for one in pieces}) == total
    udp_phone.assert_silent(0.1)
    lab.delivery(account.did, state="delivered")


@pytest.mark.req("C-092", "C-097")
def test_a_piece_that_fails_is_sent_again_and_those_before_it_are_not(
    lab: Lab, account: Account, udp_phone: Phone
) -> None:
    udp_phone.register()
    lab.cli("receive", "--from", "5557770001", "--to", account.did, "word " * 300)
    first = udp_phone.take()
    second = udp_phone.request()
    udp_phone.answer(second, 480, "Busy typing")
    lab.delivery(account.did, state="queued", attempts=1)
    udp_phone.register()
    again = udp_phone.take()
    assert (again.call_id, again.text) == (second.call_id, second.text)
    assert again.call_id != first.call_id
    rest = [udp_phone.take() for _ in range(int(first.get("x-sms-part").split("/")[1]) - 2)]
    assert "".join(one.text for one in (first, again, *rest)) == "word " * 300
    udp_phone.assert_silent(0.1)


@pytest.mark.req("C-097")
@pytest.mark.parametrize("transport", ["udp", "tcp", "tls", "wss"])
@pytest.mark.parametrize("agent", ["Asterisk PBX 22.1", "FPBX-16.0.40(18.9)", "other"])
def test_asterisk_gets_at_most_1023_bytes(lab: Lab, account: Account, phone: Phone, agent: str) -> None:
    """It takes a longer body with 202, and hands an empty text to its dialplan."""
    response = phone.authenticated(phone.register_draft(f"<{phone.contact}>").add("User-Agent", agent))
    assert response.status == 200
    large = "a longer text \U0001f600 " * 60
    lab.cli("receive", "--from", "5557770001", "--to", account.did, large)
    first = phone.take()
    found = {first.get("x-sms-part") or "1/1": first}
    while len(found) < int(next(iter(found)).split("/")[1]):
        piece = phone.take()  # on a slow machine perhaps a retransmission
        found[piece.get("x-sms-part")] = piece
    pieces = list(found.values())
    assert "".join(one.text for one in pieces) == large
    if agent == "other" and phone.wire.stream:
        assert len(pieces) == 1
    else:
        assert all(len(one.body) <= 1023 for one in pieces)


@pytest.mark.req("C-097", "F-34")
@pytest.mark.parametrize("status", [400, 406, 413, 488, 493, 600])
def test_a_message_that_a_phone_will_never_take_holds_up_nothing(
    lab: Lab, account: Account, udp_phone: Phone, status: int
) -> None:
    """Anybody could cut a phone off with one text that it dislikes."""
    udp_phone.register()
    lab.sms(account.did, "disliked")
    lab.wait(lambda: len(lab.rows(account.did)) == 1)
    lab.sms(account.did, "good")
    udp_phone.take(status=status)
    assert udp_phone.take().text == "good"
    first = lab.rows(account.did)[0]
    assert first["deliveries"][0]["state"] == "failed"
    assert str(status) in first["deliveries"][0]["last_error"]
    lab.delivery(account.did, state="delivered")


@pytest.mark.req("C-097")
def test_c097_415_is_tried_again_as_bare_text(lab: Lab, account: Account, phone: Phone) -> None:
    phone.register()
    lab.sms(account.did, "plainer, please")
    first = phone.request()
    assert first.get("content-type") == "text/plain;charset=UTF-8"
    phone.answer(first, 415, "Unsupported Media Type", ("Accept", "text/plain"))
    second = phone.take()
    assert (second.get("content-type"), second.text, second.call_id) == ("text/plain", first.text, first.call_id)
    assert second.cseq > first.cseq  # else a phone that looks for merged requests answers 482 (RFC 3261 8.2.2.2)
    lab.delivery(account.did, state="delivered")


def test_phone_that_takes_cpim_only(lab: Lab, account: Account, phone: Phone) -> None:
    phone.authenticated(phone.register_draft(f"<{phone.contact}>").add("Accept", "message/cpim, image/png"))
    lab.sms(account.did, "wrapped")
    request = phone.take()
    assert request.get("content-type") == "message/cpim"
    outer, inner, text = request.text.split("\r\n\r\n")
    assert f"From: <sip:{lab.sender}@" in outer
    assert "Content-Type: text/plain;charset=UTF-8" in inner
    assert text == "wrapped"


@pytest.mark.req("C-093")
def test_c093_one_outstanding_message_for_a_contact(lab: Lab, account: Account, phone: Phone) -> None:
    texts = [f"number {number}" for number in range(1, 6)]
    phone.register()
    for text in texts:
        lab.sms(account.did, text)
    lab.wait(lambda: len(lab.rows(account.did)) == 5)
    for text in texts:
        request = phone.request()
        assert request.text == text
        phone.assert_silent(0.05)
        phone.answer(request)
    phone.assert_silent(0.2)
    assert [row["state"] for row in lab.wait(lambda: lab.rows(account.did))] == ["delivered"] * 5


@pytest.mark.req("C-093", "F-17")
def test_c093_what_waited_comes_in_order(lab: Lab, account: Account, phone: Phone) -> None:
    texts = [f"number {number}" for number in range(1, 6)]
    for text in texts:
        lab.sms(account.did, text)
    lab.wait(lambda: len(lab.rows(account.did)) == 5)
    phone.register()
    assert [phone.take(1.0).text for _ in texts] == texts
    phone.assert_silent(0.2)


@pytest.mark.req("C-095", "D11")
@pytest.mark.parametrize("status", [301, 302, 305, 380])
def test_c095_redirect_is_not_followed(lab: Lab, account: Account, phone: Phone, status: int) -> None:
    phone.register()
    with listening(phone.wire.name) as stranger:
        lab.sms(account.did, "follow me")
        contact = f"<sip:x@127.0.0.1:{stranger.address[1]};transport={phone.wire.name}>"
        phone.answer(phone.request(), status, "Moved", ("Contact", contact))
        lab.delivery(account.did, state="queued", attempts=1)
        stranger.assert_untouched(0.2)
        phone.assert_silent(0.1)


@pytest.mark.req("C-096", "D11")
@pytest.mark.parametrize(("status", "name"), [(401, "WWW-Authenticate"), (407, "Proxy-Authenticate")])
def test_c096_challenge_of_a_phone_gets_no_credentials(
    lab: Lab, account: Account, phone: Phone, status: int, name: str
) -> None:
    phone.register()
    lab.sms(account.did, "who are you")
    challenge = (name, 'Digest realm="sip.example.net", nonce="abc", qop="auth", algorithm=MD5')
    phone.answer(phone.request(), status, "Prove it", challenge)
    found = lab.delivery(account.did, attempts=1)
    lab.wait(lambda: lab.delivery(account.did)["state"] != "sending")
    assert lab.delivery(account.did)["state"] in ("queued", "failed")
    assert found["attempts"] == 1
    phone.assert_silent(0.3)


# --- C-097: what an answer leads to ----------------------------------------------------------------------------------


@pytest.mark.req("C-097")
@pytest.mark.parametrize("status", [200, 202, 299])
def test_c097_success(lab: Lab, account: Account, phone: Phone, status: int) -> None:
    phone.register()
    lab.sms(account.did, "ok")
    phone.take(status=status)
    lab.delivery(account.did, state="delivered", attempts=1)
    assert lab.rows(account.did)[-1]["state"] == "delivered"


@pytest.mark.req("C-097")
@pytest.mark.parametrize("status", [408, 480, 481, 486, 487, 491, 500, 502, 503, 504, 513])
def test_c097_later(lab: Lab, account: Account, phone: Phone, status: int) -> None:
    """Stays in the queue, the binding stays, and the next registration brings it."""
    phone.register()
    lab.sms(account.did, "later")
    phone.take(status=status)
    found = lab.delivery(account.did, state="queued", attempts=1)
    assert str(status) in found["last_error"]
    assert list(lab.bindings(account.name)) == [phone.contact]
    phone.register()
    assert phone.take(1.0).text == "later"
    lab.delivery(account.did, state="delivered", attempts=2)


@pytest.mark.req("C-097")
@pytest.mark.parametrize("status", [404, 410])
def test_c097_nobody_there(lab: Lab, account: Account, phone: Phone, status: int) -> None:
    """The binding is dropped, the message waits for the phone."""
    phone.register()
    lab.sms(account.did, "gone")
    phone.take(status=status)
    lab.delivery(account.did, state="queued", attempts=1)
    lab.wait(lambda: lab.bindings(account.name) == {})
    assert phone.bindings() == {}
    phone.assert_silent(0.2)
    phone.register()
    assert phone.take(1.0).text == "gone"
    lab.delivery(account.did, state="delivered", attempts=2)


@pytest.mark.req("C-097")
def test_c097_unsupported_type(lab: Lab, account: Account, phone: Phone) -> None:
    """It was plain text already: sent once more without the charset, or refused for good."""
    phone.register()
    lab.sms(account.did, "plain")
    phone.take(status=415)
    lab.wait(lambda: lab.delivery(account.did)["attempts"] == 1)
    try:
        again = phone.request(0.5)
    except AssertionError:
        lab.delivery(account.did, state="failed")
    else:
        assert again.get("content-type") == "text/plain"
        phone.answer(again)
        lab.delivery(account.did, state="delivered")


@pytest.mark.req("C-097")
@pytest.mark.parametrize("status", [600, 603, 604, 606])
def test_c097_refused_for_good(lab: Lab, account: Account, phone: Phone, status: int) -> None:
    phone.register()
    lab.sms(account.did, "no")
    phone.take(status=status)
    found = lab.delivery(account.did, state="failed", attempts=1)
    assert str(status) in found["last_error"]
    phone.register()
    phone.assert_silent(0.2)


@pytest.mark.req("C-097")
def test_c097_a_refused_message_does_not_hold_up_the_next(lab: Lab, account: Account, phone: Phone) -> None:
    phone.register()
    for text in ("bad", "good"):
        lab.sms(account.did, text)
    assert phone.take(status=603).text == "bad"
    assert phone.take().text == "good"


@pytest.mark.req("C-10", "S-092")
def test_every_device_gets_each_message_once(lab: Lab, account: Account, make_phone: MakePhone) -> None:
    phones = [make_phone(account, "udp"), make_phone(account, "tcp")]
    for phone in phones:
        phone.register()
    lab.sms(account.did, "to both")
    for phone in phones:
        assert phone.take().text == "to both"
    lab.wait(lambda: [one["state"] for one in lab.rows(account.did)[-1]["deliveries"]] == ["delivered"] * 2)
    for phone in phones:
        phone.assert_silent(0.1)


@pytest.mark.req("S-090")
def test_number_without_sms_is_not_delivered(lab: Lab, account: Account, phone: Phone) -> None:
    """Kept, but the phone hears nothing of it."""
    phone.register()
    lab.sms(account.voice_did, "to the voice number")
    lab.sms(account.did, "to the SMS number")
    assert phone.take().text == "to the SMS number"
    phone.assert_silent(0.2)


@pytest.mark.req("C-043")
@pytest.mark.parametrize(
    "answer",
    [b"SIP/2.0 200 OK\r\n\r\n", b"SIP/2.0 99 x\r\n\r\n", b"\xff" * 50 + b"\r\n\r\n", b"SIP/2.0"],
    ids=["no headers", "status 99", "bytes", "cut off"],
)
def test_garbage_as_an_answer_is_no_answer(lab: Lab, account: Account, udp_phone: Phone, answer: bytes) -> None:
    udp_phone.register()
    lab.sms(account.did, "garbage")
    first = udp_phone.request()
    udp_phone.send(answer)
    again = udp_phone.take(1.5)  # sent again: the garbage was dropped
    assert again.branch == first.branch
    lab.delivery(account.did, state="delivered")


@pytest.mark.req("C-029")
@pytest.mark.parametrize("change", ["branch", "method"])
def test_answer_that_does_not_match_is_dropped(lab: Lab, account: Account, udp_phone: Phone, change: str) -> None:
    udp_phone.register()
    lab.sms(account.did, "mismatch")
    first = udp_phone.request()
    bent = {"branch": ("via", "z9hG4bK", "z9hG4bKx"), "method": ("cseq", "MESSAGE", "OPTIONS")}[change]
    first.headers = [
        (name, value.replace(bent[1], bent[2]) if name.lower() == bent[0] else value) for name, value in first.headers
    ]
    udp_phone.answer(first)
    assert udp_phone.take(1.5).text == "mismatch"
    lab.delivery(account.did, state="delivered", attempts=1)


@pytest.mark.req("C-029")
def test_answer_with_another_from_port_is_taken(lab: Lab, account: Account, udp_phone: Phone) -> None:
    """Asterisk drops the port of the From it echoes: branch and CSeq are what counts."""
    udp_phone.register()
    lab.sms(account.did, "from changed")
    request = udp_phone.request()
    request.headers = [(n, "<sip:x@y>;tag=z" if n == "From" else v) for n, v in request.headers]
    udp_phone.answer(request)
    lab.delivery(account.did, state="delivered", attempts=1)
