"""The registrar: C-046 to C-065b (reliability plan, section 2.4). C-063 is in test_short_times."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

import pytest

from tests.support.sip.wire import Incoming, Phone, listening

from .conftest import MakePhone
from .lab import Account, Lab


@pytest.mark.req("C-046")
@pytest.mark.parametrize("host", ["elsewhere.example.com", "192.0.2.1", "sip.example.net.evil.example"])
def test_c046_register_foreign_domain(phone: Phone, host: str) -> None:
    draft = phone.register_draft(f"<{phone.contact}>")
    draft.uri = f"sip:{host}"
    assert phone.ask(draft).status == 403


@pytest.mark.req("C-046", "D11")
def test_c046_register_is_not_forwarded(phone: Phone) -> None:
    with listening(phone.wire.name) as other:
        draft = phone.register_draft(f"<{phone.contact}>").add("Route", f"<sip:127.0.0.1:{other.address[1]};lr>")
        draft.uri = f"sip:elsewhere.example.com:{other.address[1]}"
        assert phone.ask(draft).status == 403
        other.assert_untouched(0.1)


@pytest.mark.req("C-047")
def test_c047_require_of_an_unknown_extension(phone: Phone) -> None:
    response = phone.ask(phone.register_draft(f"<{phone.contact}>").add("Require", "foo"))
    assert response.status == 420
    assert response.get("unsupported") == "foo"


@pytest.mark.req("C-047")
def test_c047_only_the_unknown_extensions_are_listed(phone: Phone) -> None:
    response = phone.ask(phone.register_draft().add("Require", "path, foo", "bar"))
    assert response.status == 420
    assert re.split(r"\s*,\s*", response.get("unsupported")) == ["foo", "bar"]


@pytest.mark.req("C-048", "S-011")
def test_c048_without_credentials(lab: Lab, account: Account, phone: Phone) -> None:
    response = phone.ask(phone.register_draft(f"<{phone.contact}>"))
    assert response.status == 401
    assert response.challenges()[0]["scheme"] == "Digest"
    assert lab.bindings(account.name) == {}


@pytest.mark.req("C-049")
@pytest.mark.parametrize("contact", ["<sip:thief@127.0.0.1:4000>", "*"])
def test_c049_address_of_record_of_somebody_else(lab: Lab, make_phone: MakePhone, transport: str, contact: str) -> None:
    owner, thief = make_phone(lab.account(), transport), make_phone(lab.account(), transport)
    owner.register()
    draft = thief.register_draft(contact, expires=0 if contact == "*" else None).set("To", f"<{owner.aor}>")
    assert thief.authenticated(draft).status == 403
    assert list(lab.bindings(owner.name)) == [owner.contact]
    assert list(owner.bindings()) == [owner.contact]


@pytest.mark.req("C-050")
@pytest.mark.parametrize(
    "to", ["tel:+15551234567", "<tel:5551234567>", "isbn:2983792873", "<mailto:a@sip.example.net>"]
)
def test_c050_to_is_no_sip_uri(phone: Phone, to: str) -> None:
    assert phone.ask(phone.register_draft(f"<{phone.contact}>").set("To", to)).status == 400


@pytest.mark.req("C-050")
@pytest.mark.parametrize("user", ["nobody-of-that-name", "c%00", "*"])
def test_c050_to_is_unknown(phone: Phone, user: str) -> None:
    draft = phone.register_draft(f"<{phone.contact}>").set("To", f"<sip:{user}@{phone.domain}>")
    assert phone.authenticated(draft).status == 404


@pytest.mark.req("C-051", "C-060")
def test_c051_query(phone: Phone) -> None:
    assert phone.bindings() == {}
    phone.register("<sip:a@192.0.2.1>;expires=100", "<sip:b@192.0.2.2>;expires=200")
    found = phone.bindings()
    assert set(found) == {"sip:a@192.0.2.1", "sip:b@192.0.2.2"}
    assert 95 <= found["sip:a@192.0.2.1"] <= 100
    assert 195 <= found["sip:b@192.0.2.2"] <= 200


@pytest.mark.req("C-052")
def test_c052_remove_all(lab: Lab, account: Account, phone: Phone) -> None:
    phone.register("<sip:a@192.0.2.1>", "<sip:b@192.0.2.2>")
    response = phone.register("*", expires=0)
    assert not response.has("contact")
    assert phone.bindings() == {}
    assert lab.bindings(account.name) == {}


@pytest.mark.req("C-053")
@pytest.mark.parametrize(
    ("contacts", "expires"),
    [
        (["*"], 60),
        (["*"], None),
        (["*", "<sip:b@192.0.2.2>"], 0),
        (["<sip:b@192.0.2.2>, *"], 0),
        (["*;expires=0"], None),
    ],
)
def test_c053_star_that_does_not_stand_alone(phone: Phone, contacts: list[str], expires: int | None) -> None:
    phone.register("<sip:a@192.0.2.1>")
    assert phone.settled(phone.register_draft(*contacts, expires=expires)).status == 400
    assert list(phone.bindings()) == ["sip:a@192.0.2.1"]


@pytest.mark.req("C-054")
@pytest.mark.parametrize("back", [0, 1])
@pytest.mark.parametrize("contact", ["<sip:a@192.0.2.1>;expires=200", "<sip:a@192.0.2.1>;expires=0", "*"])
def test_c054_cseq_that_does_not_rise(phone: Phone, contact: str, back: int) -> None:
    phone.register_cseq = 10
    phone.register("<sip:a@192.0.2.1>;expires=100")
    last = phone.register_cseq
    draft = phone.register_draft(contact, expires=0 if contact == "*" else None)
    phone.register_cseq = last
    draft.set("CSeq", f"{last - back - 1} REGISTER").set("From", f"<{phone.aor}>;tag=other")  # `authorise` adds one
    assert phone.authenticated(draft).status == 400
    phone.register_cseq = last
    found = phone.bindings()
    assert list(found) == ["sip:a@192.0.2.1"]
    assert found["sip:a@192.0.2.1"] <= 100


@pytest.mark.req("C-054")
def test_c054_other_call_id_with_a_lower_cseq_is_taken(phone: Phone) -> None:
    phone.register_cseq = 100
    phone.register("<sip:a@192.0.2.1>;expires=100")
    phone.register_call_id, phone.register_cseq = "another-" + phone.register_call_id, 0
    assert phone.register("<sip:a@192.0.2.1>;expires=300").contacts()["sip:a@192.0.2.1"] > 200


@pytest.mark.req("C-055")
@pytest.mark.parametrize(
    ("params", "expires", "granted"),
    [(";expires=120", 600, 120), ("", 600, 600), ("", None, 3600), (';expires="90"', None, 90)],
)
def test_c055_expires(phone: Phone, params: str, expires: int | None, granted: int) -> None:
    response = phone.register(f"<{phone.contact}>{params}", expires=expires)
    assert response.contacts() == {phone.contact: granted}


@pytest.mark.req("C-056")
@pytest.mark.parametrize("short", [1, 30, 59])
def test_c056_too_short(phone: Phone, short: int) -> None:
    response = phone.authenticated(phone.register_draft(f"<{phone.contact}>;expires={short}"))
    assert response.status == 423
    assert response.get("min-expires") == "60"
    assert phone.bindings() == {}


@pytest.mark.req("C-056")
def test_c056_zero_removes_and_an_hour_is_taken(phone: Phone) -> None:
    assert phone.register(f"<{phone.contact}>;expires=3600").contacts() == {phone.contact: 3600}
    assert phone.register(f"<{phone.contact}>;expires=0").contacts() == {}
    assert phone.register(f"<{phone.contact}>;expires=60").contacts() == {phone.contact: 60}
    assert phone.register(f"<{phone.contact}>", expires=0).contacts() == {}


@pytest.mark.req("C-056")
def test_c056_removing_what_is_not_there(phone: Phone) -> None:
    assert phone.register(f"<{phone.contact}>;expires=0").contacts() == {}


@pytest.mark.req("C-057")
def test_c057_too_long(phone: Phone) -> None:
    assert phone.register(f"<{phone.contact}>;expires=999999999").contacts() == {phone.contact: 7200}


@pytest.mark.req("C-058")
@pytest.mark.parametrize("expires", ["abc", str(2**40), "-1", "+60", "60.5"])
def test_c058_malformed_expires(phone: Phone, expires: str) -> None:
    granted = phone.register(f"<{phone.contact}>", expires=expires).contacts()[phone.contact]
    assert granted == 3600 or (expires == str(2**40) and granted == 7200)
    granted = phone.register(f"<{phone.contact}>;expires={expires}").contacts()[phone.contact]
    assert granted == 3600 or (expires == str(2**40) and granted == 7200)


@pytest.mark.req("C-059")
@pytest.mark.parametrize("second", ["<sip:>", "<tel:5551234567>", "<sip:b@192.0.2.2:99999>", "<<sip:b@192.0.2.2>", "b"])
def test_c059_second_contact_is_invalid(phone: Phone, second: str) -> None:
    phone.register("<sip:old@192.0.2.9>;expires=500")
    assert phone.settled(phone.register_draft("<sip:a@192.0.2.1>", second)).status == 400
    assert list(phone.bindings()) == ["sip:old@192.0.2.9"]


@pytest.mark.req("C-059", "C-056")
def test_c059_second_contact_is_too_short(phone: Phone) -> None:
    draft = phone.register_draft("<sip:a@192.0.2.1>;expires=600", "<sip:b@192.0.2.2>;expires=5")
    assert phone.authenticated(draft).status == 423
    assert phone.bindings() == {}


@pytest.mark.req("C-060")
def test_c060_what_a_success_says(phone: Phone) -> None:
    phone.register(
        '<sip:a@192.0.2.1>;q=0.5;+sip.instance="<urn:uuid:1>";mobility="fixed";audio',
        "<sip:b@192.0.2.2;transport=tcp>;expires=70",
    )
    response = phone.register("<sip:c@192.0.2.3?x=1>;flag")
    for value in response.all("contact"):
        assert re.search(r"^<[^>]+>.*;expires=\d+(;|$)", value), value
    assert set(response.contacts()) == {"sip:a@192.0.2.1", "sip:b@192.0.2.2;transport=tcp", "sip:c@192.0.2.3?x=1"}
    instance = next(value for value in response.all("contact") if "192.0.2.1" in value)
    assert '+sip.instance="<urn:uuid:1>"' in instance
    assert ';mobility="fixed";audio' in instance
    assert "q=0.5" in instance
    date = response.get("date")
    assert date.endswith(" GMT")
    assert parsedate_to_datetime(date)


@pytest.mark.req("C-061")
def test_c061_pipelined_registers_are_applied_in_order(lab: Lab, account: Account, tcp_phone: Phone) -> None:
    draft = tcp_phone.register_draft(f"<{tcp_phone.contact}>;expires=100")
    challenge = tcp_phone.ask(draft.copy()).challenges()[0]
    pipeline = []
    for number in range(1, 21):
        one = (
            draft.next()
            .set("CSeq", f"{number + 1} REGISTER")
            .set("Contact", f"<{tcp_phone.contact}>;expires={100 + number}")
        )
        tcp_phone.credentials.nc = number
        pipeline.append(one.add("Authorization", tcp_phone.credentials.header(challenge, one)))
    tcp_phone.send(b"".join(one.bytes() for one in pipeline))
    answers = [tcp_phone.wire.receive() for _ in pipeline]
    assert [answer.status for answer in answers] == [200] * 20
    assert [answer.cseq for answer in answers] == list(range(2, 22))
    assert [answer.contacts()[tcp_phone.contact] for answer in answers] == list(range(101, 121))
    assert lab.bindings(account.name)[tcp_phone.contact]["expires_in"] >= 118


@pytest.mark.req("C-062")
def test_c062_failures_are_no_6xx_and_have_no_record_route(phone: Phone) -> None:
    good = f"<{phone.contact}>"
    drafts = [
        phone.register_draft(good).set("To", "<sip:nobody-here@sip.example.net>"),
        phone.register_draft(good).set("To", "<sip:c0000@sip.example.net>"),
        phone.register_draft(good, expires=5),
        phone.register_draft("*"),
        phone.register_draft(good).add("Path", "<sip:192.0.2.1;lr>"),
        phone.register_draft(good).set("To", "<sip:x@elsewhere.example.org>"),
        phone.register_draft(good),
    ]
    statuses = []
    for draft in drafts:
        draft.add("Record-Route", "<sip:192.0.2.1;lr>")
        response: Incoming = phone.authenticated(draft)  # checks what every response must not be
        assert not response.has("record-route")
        statuses.append(response.status)
    assert statuses == [404, 403, 423, 400, 420, 404, 200]


@pytest.mark.req("C-064", "D10")
def test_c064_eleventh_contact(phone: Phone) -> None:
    ten = [f"sip:p{number}@192.0.2.{number}" for number in range(1, 11)]
    for uri in ten:
        phone.register(f"<{uri}>")
    assert phone.authenticated(phone.register_draft("<sip:p11@192.0.2.11>")).status == 403
    assert set(phone.bindings()) == set(ten)
    assert len(phone.register(f"<{ten[0]}>;expires=700").contacts()) == 10  # a refresh is no eleventh


@pytest.mark.req("C-064", "D10")
def test_c064_eleven_contacts_at_once(phone: Phone) -> None:
    draft = phone.register_draft(*(f"<sip:p{number}@192.0.2.{number}>" for number in range(1, 12)))
    assert phone.authenticated(draft).status == 403
    assert phone.bindings() == {}


PATHS = ["<sip:edge1@192.0.2.1;lr>", "<sip:192.0.2.2:5070;lr;x=1>"]


@pytest.mark.req("C-065a")
@pytest.mark.parametrize("one_line", [True, False])
def test_c065a_path(lab: Lab, account: Account, phone: Phone, one_line: bool) -> None:
    draft = phone.register_draft(f"<{phone.contact}>").add("Supported", "outbound, path")
    draft.add("Path", ", ".join(PATHS)) if one_line else draft.add("Path", *PATHS)
    response = phone.authenticated(draft)
    assert response.status == 200
    assert [part.strip() for value in response.all("path") for part in value.split(",")] == PATHS
    lab.sms(account.did, "by way of the edge")
    request = phone.take()
    assert [part.strip() for value in request.all("route") for part in value.split(",")] == PATHS
    assert request.uri == phone.contact


@pytest.mark.req("C-065b")
def test_c065b_path_without_supported(phone: Phone) -> None:
    response = phone.authenticated(phone.register_draft(f"<{phone.contact}>").add("Path", PATHS[0]))
    assert response.status == 420
    assert response.get("unsupported") == "path"
    assert phone.bindings() == {}


@pytest.mark.req("C-055", "C-060")
def test_refresh_keeps_one_binding_and_prolongs_it(lab: Lab, account: Account, phone: Phone) -> None:
    phone.register(f"<{phone.contact}>;expires=60")
    phone.register(f"<{phone.contact}>;expires=600")
    assert phone.bindings()[phone.contact] > 590
    assert lab.bindings(account.name)[phone.contact]["expires_in"] > 590


@pytest.mark.req("S-091", "S-092")
def test_two_phones_of_one_account(lab: Lab, account: Account, make_phone: MakePhone) -> None:
    udp, tcp = make_phone(account, "udp"), make_phone(account, "tcp")
    udp.register()
    assert set(tcp.register().contacts()) == {udp.contact, tcp.contact}


@pytest.mark.req("C-064", "G05")
@pytest.mark.parametrize("size", [255, 256, 900])
def test_long_contact(lab: Lab, account: Account, phone: Phone, size: int) -> None:
    """Push parameters (RFC 8599) make contacts long; all of it must come back."""
    uri = f"{phone.contact};pn-provider=x;pn-prid="
    uri += "p" * (size - len(uri))
    assert list(phone.register(f"<{uri}>").contacts()) == [uri]
    lab.sms(account.did, "to the long contact")
    assert phone.take().uri == uri


@pytest.mark.req("C-060", "C-064")
def test_ten_long_contacts_are_all_listed(phone: Phone) -> None:
    uris = {f"sip:{number}@192.0.2.{number};x={'y' * 700}" for number in range(1, 11)}
    for uri in uris:
        phone.register(f"<{uri}>")
    assert set(phone.bindings()) == uris


@pytest.mark.req("C-060")
@pytest.mark.parametrize(
    "uri", ["sip:a@[2001:db8::1]:5060", "sip:[::1]", "sips:a@192.0.2.1", "sip:a@host_name.example", "sip:a@b."]
)
def test_unusual_contacts(phone: Phone, uri: str) -> None:
    assert list(phone.register(f"<{uri}>").contacts()) == [uri]
    assert list(phone.bindings()) == [uri]


@pytest.mark.req("D4", "S-011")
@pytest.mark.parametrize("how", ["passwd", "disabled"])
def test_who_is_locked_out_gets_no_more_messages(lab: Lab, account: Account, make_phone: MakePhone, how: str) -> None:
    """A stolen phone must not go on reading until its registration ends."""
    thief, owner = make_phone(account, "tcp"), make_phone(account, "udp", "another")
    thief.register()
    if how == "passwd":
        lab.cli("account", "passwd", account.name, "--password", "another")
    else:
        lab.cli("account", "set", account.name, "--disabled")
    lab.wait(lambda: not lab.bindings(account.name))
    lab.sms(account.did, "not for the thief")
    thief.wire.assert_closed()  # type: ignore[union-attr]
    lab.delivery(account.did, state="queued")
    if how == "disabled":
        lab.cli("account", "set", account.name, "--enabled")
        lab.cli("account", "passwd", account.name, "--password", "another")
    lab.wait(lambda: owner.authenticated(owner.register_draft(f"<{owner.contact}>")).status == 200)
    assert owner.take().text == "not for the thief"
