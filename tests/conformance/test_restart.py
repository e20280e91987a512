"""The server is killed without warning: C-045 (reliability plan, section 2.3), D1, D7."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sip.wire import Draft, Phone, Silence, Tcp, open_wire, token

from .conftest import MakePhone
from .lab import Account, Lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("restart"), 40) as lab:
        yield lab


def _again(lab: Lab, phone: Phone, draft: Draft) -> int:
    """The identical bytes once more, on a new connection where there was one; the status."""
    if isinstance(phone.wire, Tcp):
        phone.wire.close()
        phone.wire = open_wire("tcp", lab.address)
    return phone.ask(draft).status


@pytest.mark.req("C-045", "D1", "D7", "I4")
def test_c045_killed_after_the_answer(lab: Lab, account: Account, phone: Phone) -> None:
    draft = phone.signed(phone.message_draft("5554443001", "once and for all"))
    assert phone.ask(draft).status == 202
    lab.kill()
    lab.start()
    assert [_again(lab, phone, draft) for _ in range(3)] == [202] * 3
    assert lab.texts(account.did) == ["once and for all"]


@pytest.mark.req("C-045", "D1", "D7", "I3")
@pytest.mark.parametrize("delay", [0.0, 0.002, 0.02])
def test_c045_killed_before_the_answer_was_seen(lab: Lab, account: Account, udp_phone: Phone, delay: float) -> None:
    """Wherever it died: the client that keeps trying ends with one message."""
    draft = udp_phone.signed(udp_phone.message_draft("5554443001", "one"))
    udp_phone.send(draft)
    time.sleep(delay)  # a moment to die in, not a wait for anything
    lab.kill()
    stored = len(lab.rows(account.did))
    lab.start()
    response = udp_phone.ask(draft)
    if stored:
        assert response.status == 202
    if response.status == 407:  # nothing was stored, and the nonce died with the server
        assert udp_phone.ask(udp_phone.authorise(draft.drop("Proxy-Authorization"), response)).status == 202
    assert lab.texts(account.did) == ["one"]


@pytest.mark.req("D1", "I1")
def test_registrations_and_queue_survive(lab: Lab, account: Account, make_phone: MakePhone) -> None:
    absent = lab.account()
    udp = make_phone(account, "udp")
    udp.register()
    lab.sms(absent.did, "for later")
    lab.wait(lambda: lab.rows(absent.did))
    lab.sms(account.did, "unanswered")
    first = udp.request()
    lab.kill()
    lab.start()
    assert list(udp.bindings()) == [udp.contact]
    again = udp.take(8.0)
    assert (again.text, again.call_id) == ("unanswered", first.call_id)
    lab.sms(account.did, "after the restart")
    assert udp.take(8.0).text == "after the restart"
    late = make_phone(absent, "udp")
    late.register()
    assert late.take(2.0).text == "for later"


@pytest.mark.req("D1")
def test_terminated_server_answers_what_it_took(lab: Lab, account: Account, udp_phone: Phone) -> None:
    drafts = [udp_phone.signed(udp_phone.message_draft("5554443001", f"text {number}")) for number in range(20)]
    for draft in drafts:
        udp_phone.send(draft)
    assert lab.stop() == 0
    answered = 0
    for draft in drafts:
        try:
            answered += udp_phone.response_to(draft, 0.1).status == 202
        except (Silence, ConnectionError):
            break
    assert len(lab.rows(account.did)) == answered
    lab.start()


@pytest.mark.req("C-072", "A-09")
def test_a_captured_request_is_not_accepted_after_a_restart(tmp_path: Path) -> None:
    """The key of nonces is in the configuration, their counts died with the server: older nonces are stale."""
    with Lab(tmp_path / "a", 3, sip={"nonce_secret": "kept"}) as lab:
        account = lab.account()
        with lab.phone(account) as phone:
            text = phone.signed(phone.message_draft("5551234567", "once"))
            assert phone.ask(text).status == 202
            register = phone.signed(phone.register_draft(f"<{phone.contact}>"))
            assert phone.ask(register).status == 200
            assert phone.ask(phone.signed(phone.register_draft("*", expires=0))).status == 200
            lab.kill()
            lab.start()
            copies = [draft.copy().set("Call-ID", token()).set("Via", phone.via()) for draft in (text, register)]
            answers = [phone.ask(copy) for copy in copies]
            assert [one.status for one in answers] == [407, 401]
            assert [one.challenges()[0]["stale"] for one in answers] == ["true", "true"]
            assert phone.ask(text).status == 202, "its sender's own copy hears what was said before the restart"
            assert not lab.bindings(account.name)
        assert lab.texts(account.did) == ["once"]


@pytest.mark.req("C-082")
@pytest.mark.parametrize("shared", [True, False])
def test_c082_challenge_of_one_server_answered_at_another(tmp_path: Path, shared: bool) -> None:
    """Two servers with the same secret know each other's nonces; without it, the second challenges anew."""
    settings = {"sip": {"nonce_secret": "of both"}} if shared else {}
    with Lab(tmp_path / "a", 3, **settings) as one, Lab(tmp_path / "b", 3, **settings) as other:
        account = one.account()
        with one.phone(account) as first, other.phone(account) as second:
            draft = first.message_draft("5551234567", "begun here, ended there")
            signed = first.signed(draft)
            assert second.ask(signed).status == (202 if shared else 407)
            assert other.texts(account.did) == (["begun here, ended there"] if shared else [])


@pytest.mark.req("D4", "I1")
@pytest.mark.parametrize("change", ["password", "disable", "import"])
def test_registrations_end_if_the_password_changes_while_the_server_is_down(
    lab: Lab, account: Account, make_phone: MakePhone, change: str
) -> None:
    """A stolen phone is locked out while the server is down: the next start must not bring it back."""
    stolen = make_phone(account, "udp")
    stolen.register()
    lab.kill()
    if change == "password":
        lab.cli("account", "passwd", account.name, "--password", "another-one")
    elif change == "disable":
        lab.cli("account", "set", account.name, "--disabled")
    else:
        lab.import_accounts({"name": account.name, "password": "another-one"})
    lab.start()
    assert not lab.bindings(account.name)
    lab.sms(account.did, "not for a thief")
    lab.wait(lambda: lab.rows(account.did))
    with pytest.raises(Silence):
        stolen.request(1.0)
