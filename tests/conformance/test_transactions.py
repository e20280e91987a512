"""Transactions: C-032 to C-044 but for those that take long (test_timers) or block the store (test_store_blocked)."""

from __future__ import annotations

import re

import pytest

from tests.support.sip.wire import Phone, branch, listening, param, token

from .conftest import MakePhone
from .lab import Account, Lab


@pytest.mark.req("C-032")
def test_c032_five_copies_are_one_message(lab: Lab, account: Account, phone: Phone) -> None:
    draft = phone.signed(phone.message_draft("5554443001", "once"))
    phone.send(draft)
    answers = [phone.response_to(draft)]
    for _ in range(4):
        phone.send(draft)
    answers += [phone.response_to(draft) for _ in range(4)]
    assert [answer.status for answer in answers] == [202] * 5
    assert len({answer.raw for answer in answers}) == 1
    assert lab.texts(account.did) == ["once"]


@pytest.mark.req("C-032")
def test_c032_five_copies_at_once_are_one_message(lab: Lab, account: Account, phone: Phone) -> None:
    draft = phone.signed(phone.message_draft("5554443001", "at once"))
    for _ in range(5):
        phone.send(draft)
    answers = [phone.response_to(draft)]  # copies that come before the answer are absorbed, the others get it again
    phone.send(draft)
    answers.append(phone.response_to(draft))
    assert {answer.status for answer in answers} == {202}
    assert len({answer.raw for answer in answers}) == 1
    assert lab.texts(account.did) == ["at once"]


@pytest.mark.req("C-032")
def test_c032_copies_of_a_register(phone: Phone) -> None:
    draft = phone.signed(phone.register_draft(f"<{phone.contact}>"))
    first = phone.ask(draft)
    assert first.status == 200
    for _ in range(4):
        assert phone.ask(draft).raw == first.raw


@pytest.mark.req("C-035")
def test_c035_same_branch_other_sent_by(lab: Lab, account: Account, phone: Phone) -> None:
    same = branch()
    for number in (1, 2):
        draft = phone.signed(phone.message_draft("5554443001", f"text {number}"))
        draft.set("Via", f"SIP/2.0/UDP host{number}.example.com:5060;branch={same};rport")
        assert phone.ask(draft).status == 202
    assert lab.texts(account.did) == ["text 1", "text 2"]


@pytest.mark.req("C-036")
@pytest.mark.parametrize("params", [";branch=1", ";rport;branch=old-style", ";rport"])
def test_c036_rfc2543_matching(lab: Lab, account: Account, phone: Phone, params: str) -> None:
    draft = phone.signed(phone.message_draft("5554443001", "2543"))
    draft.set("Via", f"SIP/2.0/UDP 192.0.2.5{params}")
    first = phone.ask(draft)
    again = phone.ask(draft)
    assert (first.status, again.status) == (202, 202)
    assert again.raw == first.raw
    assert lab.texts(account.did) == ["2543"]


@pytest.mark.req("C-036")
def test_c036_rfc2543_other_cseq_is_another_transaction(lab: Lab, account: Account, phone: Phone) -> None:
    for text in ("one", "two"):
        draft = phone.signed(phone.message_draft("5554443001", text).set("Call-ID", f"same-{account.name}"))
        draft.set("CSeq", f"{5 if text == 'one' else 6} MESSAGE").set("Via", "SIP/2.0/UDP 192.0.2.5")
        draft.set("From", f"<{phone.aor}>;tag=same")
        assert phone.ask(draft).status == 202
    assert lab.texts(account.did) == ["one", "two"]


@pytest.mark.req("C-037")
def test_c037_merged_request(lab: Lab, account: Account, phone: Phone) -> None:
    """The copy that came by another way brings its own credentials."""
    first = phone.signed(phone.message_draft("5554443001", "merged"))
    assert phone.ask(first).status == 202
    challenged = phone.ask(phone.message_draft("5554443001"))
    copy = first.copy().set("Via", phone.via())
    copy.set("Proxy-Authorization", phone.credentials.header(challenged.challenges()[0], copy))
    assert phone.ask(copy).status == 482
    assert lab.texts(account.did) == ["merged"]


@pytest.mark.req("C-037", "C-072")
def test_c037_merged_request_with_the_same_credentials(lab: Lab, account: Account, phone: Phone) -> None:
    first = phone.signed(phone.message_draft("5554443001", "merged"))
    assert phone.ask(first).status == 202
    assert phone.ask(first.copy().set("Via", phone.via())).status in (482, 407)
    assert lab.texts(account.did) == ["merged"]


@pytest.mark.req("C-044")
def test_c044_cancel_of_a_known_transaction(lab: Lab, account: Account, phone: Phone) -> None:
    draft = phone.signed(phone.message_draft("5554443001", "stays"))
    assert phone.ask(draft).status == 202
    cancel = phone.draft("CANCEL", draft.uri)
    for name in ("Via", "From", "To", "Call-ID"):
        cancel.set(name, draft.get(name))
    cancel.set("CSeq", re.sub("MESSAGE", "CANCEL", draft.get("CSeq")))
    assert phone.ask(cancel).status == 200
    assert lab.texts(account.did) == ["stays"]
    assert phone.ask(draft).status == 202  # the transaction is as it was


@pytest.mark.req("C-044", "C-077")
def test_c044_cancel_of_nothing(phone: Phone) -> None:
    response = phone.ask(phone.draft("CANCEL", f"sip:5554443001@{phone.domain}"))
    assert response.status == 481
    assert not response.has("www-authenticate")
    assert not response.has("proxy-authenticate")


@pytest.mark.req("C-044", "C-077")
def test_c044_stray_ack(phone: Phone) -> None:
    phone.send(phone.draft("ACK", f"sip:5554443001@{phone.domain}"))
    phone.send(phone.draft("ACK").drop("To"))
    phone.assert_silent(0.2)
    assert phone.ask(phone.options()).status == 200


# --- client transactions (those of seconds are in test_timers) -------------------------------------------------------


@pytest.mark.req("C-040")
def test_c040_late_duplicate_of_a_200(lab: Lab, account: Account, udp_phone: Phone) -> None:
    udp_phone.register()
    lab.sms(account.did, "twice answered")
    request = udp_phone.take()
    lab.delivery(account.did, state="delivered", attempts=1)
    for status in (200, 200, 486):
        udp_phone.answer(request, status)
    udp_phone.assert_silent(0.3)
    assert lab.delivery(account.did)["state"] == "delivered"


@pytest.mark.req("C-042")
def test_c042_icmp_port_unreachable(lab: Lab, account: Account, make_phone: MakePhone) -> None:
    phone = make_phone(account, "udp")
    phone.register()
    phone.close()
    lab.sms(account.did, "to a closed port")
    found = lab.delivery(account.did, seconds=1.0, state="queued", attempts=1)
    assert "unreachable" in found["last_error"]


@pytest.mark.req("C-042")
def test_c042_reset_while_the_answer_is_awaited(lab: Lab, account: Account, tcp_phone: Phone) -> None:
    tcp_phone.register()
    lab.sms(account.did, "to be reset")
    tcp_phone.request()
    tcp_phone.wire.reset()  # type: ignore[union-attr]
    lab.delivery(account.did, seconds=1.0, state="queued", attempts=1)


@pytest.mark.req("C-042", "C-043", "F-17")
@pytest.mark.parametrize("known_by", ["instance", "contact"])
def test_c042_registering_again_brings_the_message_at_once(
    lab: Lab, account: Account, make_phone: MakePhone, transport: str, known_by: str
) -> None:
    first = make_phone(account, transport)
    instance = f'<{first.contact}>;+sip.instance="<urn:uuid:{account.name}>"'
    first.register(instance if known_by == "instance" else f"<{first.contact}>")
    first.close()
    lab.sms(account.did, "waits")
    lab.delivery(account.did, seconds=1.0, state="queued")
    second = make_phone(account, transport)
    second.register(instance.replace(first.contact, second.contact) if known_by == "instance" else f"<{first.contact}>")
    assert second.take(1.0).text == "waits"
    lab.delivery(account.did, state="delivered")
    second.assert_silent(0.2)


@pytest.mark.req("C-042", "F-17")
def test_c042_stream_phone_without_instance_comes_back_from_another_port(
    lab: Lab, account: Account, make_phone: MakePhone
) -> None:
    """Its old connection is known to be gone: the new contact is that phone, whatever is left of the old binding."""
    first = make_phone(account, "tcp")
    first.register()
    first.close()
    lab.sms(account.did, "waits")
    lab.delivery(account.did, seconds=1.0, state="queued")
    second = make_phone(account, "tcp")
    second.register()
    assert second.take(1.5).text == "waits"


@pytest.mark.req("C-043", "D11")
def test_c043_the_server_never_connects(lab: Lab, account: Account, tcp_phone: Phone) -> None:
    """A stream contact is reached by the connection it registered on, or not at all."""
    with listening("tcp") as other:
        tcp_phone.register(f"<sip:{account.name}@127.0.0.1:{other.address[1]};transport=tcp>")
        tcp_phone.close()
        lab.sms(account.did, "nobody there")
        lab.delivery(account.did, state="queued")
        assert other.connections(0.3) == 0


@pytest.mark.req("C-041")
def test_c041_answer_on_a_stream(lab: Lab, account: Account, tcp_phone: Phone) -> None:
    tcp_phone.register()
    lab.sms(account.did, "by stream")
    request = tcp_phone.take()
    assert request.get("via").startswith("SIP/2.0/TCP ")
    assert request.text == "by stream"
    lab.delivery(account.did, state="delivered", attempts=1)


@pytest.mark.req("C-026", "C-044")
def test_unknown_methods_and_known_ones_that_are_not_served(phone: Phone) -> None:
    for method, status in (("INVITE", 405), ("REFER", 405), ("NOTIFY", 481), ("BYE", 405), ("FOO", 501)):
        response = phone.ask(phone.draft(method))
        assert response.status == status, method
        if status == 405:
            assert {"REGISTER", "MESSAGE", "OPTIONS"} <= set(re.split(r"\s*,\s*", response.get("allow")))
    assert param(phone.ask(phone.options().set("Call-ID", token())).get("to"), "tag")


@pytest.mark.req("C-037", "A-52")
def test_c037_another_account_cannot_use_up_ones_call_id(lab: Lab, make_phone: MakePhone) -> None:
    """Whoever has seen a Call-ID and From tag on the wire, and has a password of his own."""
    owner, other = make_phone(lab.account()), make_phone(lab.account())
    signed = owner.signed(owner.message_draft("5551234567", "the owner's"))
    theft = other.message_draft("5551234567", "another's")
    for name in ("Call-ID", "CSeq"):
        theft.set(name, signed.get(name))
    theft.set("From", f"<{other.aor}>;tag={signed.get('From').partition('tag=')[2]}")
    challenge = other.ask(other.message_draft("5551234567")).challenges()[0]
    theft.add("Proxy-Authorization", other.credentials.header(challenge, theft))
    assert other.ask(theft).status == 202
    assert owner.ask(signed).status == 202
