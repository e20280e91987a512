"""JsSIP over WS and WSS: what a phone in a browser is made of (RFC 7118)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from conformance.lab import Account, Lab

from tests.support.sip.jssip import JsPhone, Missing, installed

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    try:
        installed()
    except Missing as why:
        pytest.skip(str(why))
    with Lab(tmp_path_factory.mktemp("jssip"), 20) as lab:
        lab.authority.write(lab.folder / "authority.pem")
        yield lab
        lab.assert_healthy()


@pytest.fixture(params=["ws", "wss"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _phone(lab: Lab, account: Account, scheme: str, password: str = "") -> JsPhone:
    url = f"{scheme}://127.0.0.1:{lab.ports[scheme]}"
    return JsPhone(url, account.name, password or account.password, "sip.example.net", lab.folder / "authority.pem")


@pytest.mark.req("C-122", "C-124", "C-065d", "S-093")
def test_registers_receives_and_sends(lab: Lab, scheme: str) -> None:
    account = lab.account()
    with _phone(lab, account, scheme) as phone:
        answer = phone.register()
        assert answer["require"] == "outbound"
        assert "pub-gruu" in answer["contact"]
        (contact,) = lab.bindings(account.name)
        assert ".invalid;transport=ws" in contact
        lab.sms(account.did, "to the browser \u2713 \U0001f600")
        got = phone.wait("message")
        assert (got["text"], got["from"], got["did"]) == ("to the browser \u2713 \U0001f600", lab.sender, account.did)
        assert got["to"] == f"sip:{account.name}@sip.example.net"
        lab.delivery(account.did, state="delivered")
        assert phone.send("5551234567", "from the browser")["status"] == 202
        assert lab.texts(account.did)[-1] == "from the browser"


@pytest.mark.req("C-098", "C-100", "C-089")
def test_refusals_come_with_the_rule(lab: Lab, scheme: str) -> None:
    account = lab.account()
    with _phone(lab, account, scheme) as phone:
        phone.register()
        refused = phone.send("15551234567", "leading one")
        assert (refused["event"], refused["status"]) == ("failed", 404)
        assert "leave it out" in refused["warning"]
        assert phone.send("5551234567", "x" * 161)["status"] == 413
        phone.do("send", to="5551234567", text="<isComposing/>", contentType="application/im-iscomposing+xml")
        assert phone.wait("sent")["status"] == 200
        assert lab.texts(account.did) == []


@pytest.mark.req("C-076")
def test_wrong_password(lab: Lab, scheme: str) -> None:
    with _phone(lab, lab.account(), scheme, "not-it") as phone:
        phone.wait("connected")
        phone.do("register")
        assert phone.wait("registrationFailed")["status"] == 403


@pytest.mark.req("C-065h", "F-17")
def test_what_comes_while_it_reconnects_is_there_after(lab: Lab, scheme: str) -> None:
    """The connection breaks; an SMS comes; JsSIP connects again by itself and registers."""
    account = lab.account()
    with _phone(lab, account, scheme) as phone:
        phone.register()
        (before,) = lab.bindings(account.name).values()
        phone.do("break")
        phone.wait("disconnected")
        lab.wait(lambda: not lab.bindings(account.name))
        lab.sms(account.did, "while away")
        phone.wait("connected", 40)
        phone.register()
        assert phone.wait("message")["text"] == "while away"
        (after,) = lab.bindings(account.name).values()
        assert after["device"] == before["device"]


def test_certificate_of_nobody_is_not_taken(lab: Lab, tmp_path: Path) -> None:
    """The tests' own check: were JsSIP not to look at the certificate, the tests above would prove less."""
    account = lab.account()
    url = f"wss://127.0.0.1:{lab.ports['wss']}"
    with JsPhone(url, account.name, account.password, "sip.example.net") as phone:
        assert phone.wait("disconnected")["error"] is True
