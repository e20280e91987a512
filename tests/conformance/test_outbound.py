"""Flows and devices: RFC 5626 (C-065c to C-065h), RFC 3327 (C-065a), RFC 5627."""

from __future__ import annotations

import re

import pytest

from tests.support.sip.wire import Draft, Incoming, Phone, Udp, param

from .conftest import MakePhone
from .lab import Account, Lab


def _instance(account: Account, number: int = 0) -> str:
    return f'+sip.instance="<urn:uuid:00000000-0000-1000-8000-{account.did}{number:02d}>"'


def _draft(phone: Phone, account: Account, *, reg_id: int | None = 1, supported: str = "path, outbound, gruu") -> Draft:
    flow = f";reg-id={reg_id}" if reg_id is not None else ""
    return phone.register_draft(f"<{phone.contact}>{flow};{_instance(account)}").add("Supported", supported)


def _outbound(phone: Phone, account: Account, **how: object) -> Incoming:
    response = phone.authenticated(_draft(phone, account, **how))  # type: ignore[arg-type]
    assert response.status == 200
    return response


@pytest.mark.req("C-065d")
def test_c065d_outbound_is_confirmed(account: Account, phone: Phone) -> None:
    response = _outbound(phone, account)
    assert response.get("require") == "outbound"
    assert 30 <= int(response.get("flow-timer")) < 180
    assert {"path", "outbound", "gruu"} <= set(re.split(r"\s*,\s*", response.get("supported")))


@pytest.mark.req("C-065d")
@pytest.mark.parametrize(("reg_id", "supported"), [(None, "path, outbound"), (1, "path"), (1, "gruu")])
def test_c065d_not_asked_for_not_confirmed(account: Account, phone: Phone, reg_id: int | None, supported: str) -> None:
    response = _outbound(phone, account, reg_id=reg_id, supported=supported)
    assert not response.has("require")
    assert not response.has("flow-timer")


@pytest.mark.req("C-065c")
def test_c065c_same_flow_replaces_another_adds(lab: Lab, account: Account, make_phone: MakePhone) -> None:
    first, again, second = (make_phone(account, transport) for transport in ("udp", "tcp", "tls"))
    _outbound(first, account)
    _outbound(again, account)
    assert list(again.bindings()) == [again.contact]
    _outbound(second, account, reg_id=2)
    assert set(second.bindings()) == {again.contact, second.contact}
    assert len({row["device"] for row in lab.bindings(account.name).values()}) == 1


@pytest.mark.req("C-065c", "C-065h", "C-094")
def test_two_flows_of_one_phone_are_one_device(lab: Lab, account: Account, make_phone: MakePhone) -> None:
    """Delivered once, by the newest flow; when that is gone, by the other, without a new REGISTER."""
    first, second = make_phone(account, "tcp"), make_phone(account, "tls")
    _outbound(first, account)
    _outbound(second, account, reg_id=2)
    lab.sms(account.did, "once")
    assert second.take().text == "once"
    first.assert_silent()
    second.close()
    lab.wait(lambda: len(lab.bindings(account.name)) == 1)
    lab.sms(account.did, "by the other")
    assert first.take().text == "by the other"


@pytest.mark.req("C-065e")
def test_c065e_two_contacts_with_reg_id(phone: Phone, account: Account) -> None:
    contacts = [f"<{phone.contact};x={n}>;reg-id={n};{_instance(account, n)}" for n in (1, 2)]
    draft = phone.register_draft(*contacts).add("Supported", "outbound")
    assert phone.authenticated(draft).status == 400
    assert phone.bindings() == {}


@pytest.mark.req("C-065e")
def test_c065e_reg_id_without_instance_is_ignored(phone: Phone) -> None:
    draft = phone.register_draft(f"<{phone.contact}>;reg-id=1").add("Supported", "outbound")
    response = phone.authenticated(draft)
    assert response.status == 200
    assert not response.has("require")
    assert list(phone.bindings()) == [phone.contact]


def _by_proxy(draft: Draft, path: str) -> Draft:
    draft.headers.insert(1, ("Via", "SIP/2.0/UDP edge.example.net;branch=z9hG4bKedge"))
    via = draft.headers[0]
    draft.headers[0], draft.headers[1] = via, draft.headers[1]
    return draft.add("Path", path) if path else draft


@pytest.mark.req("C-065e")
@pytest.mark.parametrize(
    ("path", "status"),
    [("<sip:edge.example.net;lr>", 439), ("", 439), ("<sip:token@edge.example.net;lr;ob>", 200)],
)
def test_c065e_first_hop_without_outbound(phone: Phone, account: Account, path: str, status: int) -> None:
    draft = _by_proxy(_draft(phone, account), path)
    response = phone.authenticated(draft)
    assert response.status == status
    assert response.has("require") is (status == 200)


@pytest.mark.req("C-065a")
def test_c065a_path_becomes_the_route(lab: Lab, account: Account, phone: Phone) -> None:
    path = ["<sip:p1.example.net;lr>", "<sip:p2.example.net;lr>"]
    draft = phone.register_draft(f"<{phone.contact}>").add("Supported", "path").add("Path", *path)
    response = phone.authenticated(draft)
    assert response.all("path") == path
    lab.sms(account.did, "by the path")
    assert phone.take().all("route") == path


@pytest.mark.req("C-065c", "C-065h")
def test_one_contact_for_all_flows_of_a_phone(lab: Lab, account: Account, make_phone: MakePhone) -> None:
    """RFC 5626 section 3.3: the same Contact URI, another reg-id; one flow breaks, the other is still there."""
    flows = [make_phone(account, "tcp"), make_phone(account, "tls")]
    for number, phone in enumerate(flows, 1):
        contact = f"<sip:{account.name}@192.0.2.2;transport=tcp>;reg-id={number};{_instance(account)}"
        draft = phone.register_draft(contact).add("Supported", "path, outbound")
        response = phone.authenticated(draft)
        assert (response.status, len(response.all("contact"))) == (200, number)
    lab.sms(account.did, "by the newest")
    assert flows[1].take().text == "by the newest"
    flows[1].close()
    lab.wait(lambda: [row["received"][:4] for row in lab.bindings(account.name).values()] == ["tcp:"])
    lab.sms(account.did, "by the other")
    assert flows[0].take().text == "by the other"


@pytest.mark.req("C-065c")
def test_two_phones_with_one_private_address(lab: Lab, account: Account) -> None:
    """At two sites, each behind its NAT: their instance ids tell them apart, and each gets everything once."""
    phones = [
        Phone(lab.address, account.name, account.password, wire=Udp(lab.address, host=f"127.0.0.{30 + number}"))
        for number in (1, 2)
    ]
    for number, phone in enumerate(phones, 1):
        phone.register(f"<sip:{account.name}@192.168.1.10:5060>;{_instance(account, number)}")
    assert len(phones[0].bindings()) == 1  # by URI; the next line counts
    assert len(phones[0].authenticated(phones[0].register_draft()).all("contact")) == 2
    lab.sms(account.did, "to both")
    for phone in phones:
        assert phone.take().text == "to both"
    phones[0].register(f"<sip:{account.name}@192.168.1.10:5060>;{_instance(account, 1)}", expires=0)
    lab.sms(account.did, "to the one that is left")
    assert phones[1].take().text == "to the one that is left"
    for phone in phones:
        phone.assert_silent(0.1)
        phone.close()


@pytest.mark.req("C-065f", "C-097")
@pytest.mark.parametrize("status", [404, 410, 430, 503])
def test_next_flow_where_one_fails(lab: Lab, account: Account, make_phone: MakePhone, status: int) -> None:
    """RFC 5626 section 4.3: the same phone by its other flow, at once."""
    first, second = make_phone(account, "tcp"), make_phone(account, "tls")
    _outbound(first, account)
    _outbound(second, account, reg_id=2)
    lab.sms(account.did, "there is another way")
    second.take(status=status)
    assert first.take().text == "there is another way"
    lab.delivery(account.did, state="delivered")


@pytest.mark.req("C-094", "C-037")
def test_a_phone_that_has_it_by_the_flow_that_broke_says_482(lab: Lab, account: Account, make_phone: MakePhone) -> None:
    """Its answer was lost with the connection; by the other flow it sees a merged request. It has the message: done."""
    first, second = make_phone(account, "tcp"), make_phone(account, "tls")
    _outbound(first, account)
    _outbound(second, account, reg_id=2)
    lab.sms(account.did, "once")
    assert second.request().text == "once"
    second.close()
    merged = first.take(status=482)
    lab.delivery(account.did, state="delivered", attempts=1)
    assert merged.text == "once"
    first.assert_silent()


def test_phones_behind_one_proxy_are_not_taken_for_one(lab: Lab, account: Account, phone: Phone) -> None:
    """All have the proxy's address; a Path says that it is one."""
    contacts = [f"sip:{account.name}@192.168.1.10:5060;alias=203.0.113.{number}~5060~1" for number in (1, 2)]
    for contact in contacts:
        phone.register_call_id, phone.register_cseq = f"of-{contact}", 0
        draft = phone.register_draft(f"<{contact}>").add("Supported", "path").add("Path", "<sip:edge.example.net;lr>")
        assert phone.authenticated(draft).status == 200
    assert set(phone.bindings()) == set(contacts)


def test_snom_has_a_line_too_and_is_no_asterisk(lab: Lab, account: Account, udp_phone: Phone) -> None:
    """Its copies are told apart by Call-ID, which a retry must keep."""
    contact = f"<{udp_phone.contact};line=c3vk2gmk>"
    udp_phone.authenticated(udp_phone.register_draft(contact).add("User-Agent", "snomD735/10.1.54.13"))
    lab.sms(account.did, "again")
    first = udp_phone.take(status=500)
    lab.delivery(account.did, state="queued", attempts=1)
    udp_phone.authenticated(udp_phone.register_draft(contact).add("User-Agent", "snomD735/10.1.54.13"))
    assert udp_phone.take().call_id == first.call_id


def test_instance_that_is_told_later_makes_the_device_lasting(
    lab: Lab, account: Account, make_phone: MakePhone
) -> None:
    """First without, then with +sip.instance: its GRUU reaches it, and it alone."""
    phone, other, sender = make_phone(account, "tcp"), make_phone(account, "udp"), make_phone(lab.account())
    phone.register()
    gruu = _gruu(_outbound(phone, account))
    other.register()
    draft = sender.message_draft(account.name, "for you alone")
    draft.uri = gruu
    assert sender.authenticated(draft).status == 202
    assert phone.take().text == "for you alone"
    other.assert_silent()


# --- flow tokens -----------------------------------------------------------------------------------------------------


def _token_of(response: Incoming) -> str:
    (path,) = response.all("path")
    return path


@pytest.mark.req("C-065f")
@pytest.mark.parametrize("transport", ["tcp", "tls", "wss"])
def test_c065f_flow_token(lab: Lab, account: Account, make_phone: MakePhone, transport: str) -> None:
    """The Path that we gave, used as Route: that flow and no other. Gone: 430. Changed: 403."""
    phone, sender = make_phone(account, transport), make_phone(lab.account(), "udp")
    path = _token_of(_outbound(phone, account))
    draft = sender.message_draft(account.name, "by this flow").add("Route", path)
    sender.send(sender.signed(draft))
    request = phone.take()
    assert (request.text, request.has("route")) == ("by this flow", False)
    assert sender.response_to(draft.next()).status == 200
    forged = path.replace("@", "x@", 1)
    assert sender.authenticated(sender.message_draft(account.name).add("Route", forged)).status == 403
    phone.close()
    lab.wait(lambda: not lab.bindings(account.name))
    assert sender.authenticated(sender.message_draft(account.name).add("Route", path)).status == 430


@pytest.mark.req("C-065f", "A-52")
def test_c065f_a_token_is_for_its_account_only(lab: Lab, account: Account, make_phone: MakePhone) -> None:
    phone, sender, other = make_phone(account, "tcp"), make_phone(lab.account(), "udp"), lab.account()
    path = _token_of(_outbound(phone, account))
    assert sender.authenticated(sender.message_draft(other.name).add("Route", path)).status == 430
    assert sender.ask(sender.message_draft(account.name).add("Route", path)).status == 407
    phone.assert_silent()


# --- GRUU ------------------------------------------------------------------------------------------------------------


def _gruu(response: Incoming) -> str:
    return next((param(value, "pub-gruu") for value in response.all("contact") if "pub-gruu" in value), "")


def test_public_gruu(lab: Lab, account: Account, phone: Phone) -> None:
    """RFC 5627 section 5.4: AOR and instance; the same for every registration of the device."""
    first, second = _gruu(_outbound(phone, account)), _gruu(_outbound(phone, account))
    instance = re.search(r"<(urn:uuid:[^>]*)>", _instance(account))
    assert instance
    assert first == second == f"sip:{account.name}@sip.example.net;gr={instance[1]}"
    assert not _gruu(_outbound(phone, account, supported="path"))


def test_message_to_a_gruu_reaches_that_device_only(lab: Lab, account: Account, make_phone: MakePhone) -> None:
    one, other, sender = make_phone(account, "tcp"), make_phone(account, "udp"), make_phone(lab.account(), "udp")
    gruu = _gruu(_outbound(one, account))
    other.register()
    draft = sender.message_draft(account.name, "to one device")
    draft.uri = gruu
    assert sender.authenticated(draft.set("To", f"<{gruu}>")).status == 202
    assert one.take().text == "to one device"
    other.assert_silent()
    draft = sender.message_draft(account.name, "to nobody")
    draft.uri = gruu + "0"
    assert sender.authenticated(draft).status == 480


# --- a program that was started anew ---------------------------------------------------------------------------------


def test_a_restarted_program_replaces_its_contact_and_gets_what_waits(lab: Lab, account: Account, phone: Phone) -> None:
    """Asterisk: the same socket, another `line`, no instance, no goodbye. Its old contact is refused by it now."""
    old, new = (f"{phone.contact};line={line}" for line in ("calfpcf", "jrqdvxi"))
    phone.register(f"<{old}>")
    lab.sms(account.did, "waits")
    phone.answer(phone.request(), 401, "Unauthorized")
    lab.delivery(account.did, state="queued", attempts=1)
    phone.register_call_id, phone.register_cseq = "another-" + phone.register_call_id, 0
    phone.register(f"<{new}>")
    request = phone.take()
    assert (request.uri, request.text) == (new, "waits")
    assert list(phone.bindings()) == [new]
    phone.assert_silent()


def test_the_same_private_address_behind_another_nat_is_another_phone(lab: Lab, account: Account) -> None:
    contacts = [f"sip:{account.name}@192.168.1.10:5060;rinstance={number}" for number in (1, 2)]
    phones = [
        Phone(lab.address, account.name, account.password, wire=Udp(lab.address, host=f"127.0.0.{20 + number}"))
        for number in (1, 2)
    ]
    for phone, contact in zip(phones, contacts, strict=True):
        phone.register(f"<{contact}>")
    assert set(lab.bindings(account.name)) == set(contacts)
    lab.sms(account.did, "to both")
    assert [phone.take().uri for phone in phones] == contacts
    for phone in phones:
        phone.close()
