"""Messages between accounts: stored by default, relayed where the dialplan says so (C-108 to C-118; A-05, A-16)."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sip.wire import Draft, Incoming, Phone, param

from .conftest import MakePhone
from .lab import Account, Lab
from .test_presence import subscribe_draft


@pytest.fixture(scope="module")
def relaying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("relay")
    shutil.copytree(Path(__file__).parents[2] / "dialplan", folder / "dialplan")
    routing = folder / "dialplan" / "routing.yaml"
    routing.write_text(routing.read_text().replace("internal: store", "internal: relay"))
    with Lab(folder, 500, dialplan="dialplan") as lab:
        yield lab


@pytest.fixture
def pair(relaying: Lab, transport: str) -> Iterator[tuple[Phone, Phone]]:
    """(alice, bob), both registered with the server that relays."""
    alice, bob = relaying.phone(relaying.account(), transport), relaying.phone(relaying.account(), transport)
    alice.register()
    bob.register()
    yield alice, bob
    alice.close()
    bob.close()
    relaying.assert_healthy()


def _relayed(alice: Phone, bob: Phone, draft: Draft) -> tuple[Incoming, Draft]:
    """(what bob gets, what alice has sent)."""
    signed = alice.signed(draft)
    alice.send(signed)
    return bob.request(), signed


# --- stored ----------------------------------------------------------------------------------------------------------


@pytest.mark.req("C-094", "G02")
def test_between_accounts_stored_for_every_device(lab: Lab, make_phone: MakePhone, transport: str) -> None:
    sender, receiver = lab.account(), lab.account()
    alice = make_phone(sender, transport)
    phones = [make_phone(receiver, "udp"), make_phone(receiver, transport)]
    for phone in phones:
        phone.register()
    assert alice.message(receiver.name, "hello, bob").status == 202
    for phone in phones:
        request = phone.take()
        assert (request.text, request.has("x-sms-to")) == ("hello, bob", False)
        assert request.get("from").startswith(f"<sip:{sender.name}@sip.example.net>")
        assert request.get("to") == f"<sip:{receiver.name}@sip.example.net>"
    row = lab.wait(lambda: [r for r in _messages(lab, receiver.name) if r["state"] == "delivered"])[0]
    assert (row["from"], row["to"], row["direction"]) == (sender.name, receiver.name, "out")


def _messages(lab: Lab, to: str) -> list[dict[str, object]]:
    return [row for row in lab.listed("messages", "--limit", "5000") if row["to"] == to]


def test_between_accounts_waits_for_one_that_is_away(lab: Lab, make_phone: MakePhone) -> None:
    sender, receiver = lab.account(), lab.account()
    alice = make_phone(sender)
    long = "longer than an SMS " * 20
    assert alice.message(receiver.name, long).status == 202
    bob = make_phone(receiver, "tcp")
    bob.register()
    assert bob.take().text == long
    assert bob.message(sender.sub, "to a subaccount").status == 202


def test_between_accounts_unknown_is_refused_like_any_wrong_number(lab: Lab, udp_phone: Phone) -> None:
    assert udp_phone.message("nobody-here").status == 404
    assert udp_phone.message("x" * 60).status == 404


def test_between_accounts_too_long(lab: Lab, account: Account, make_phone: MakePhone) -> None:
    phone = make_phone(account, "tcp")
    assert phone.message(lab.account().name, "x" * 10_001).status == 413


# --- relayed ---------------------------------------------------------------------------------------------------------


@pytest.mark.req("C-109", "C-114", "C-118")
def test_relay_passes_the_phones_own_answer(relaying: Lab, pair: tuple[Phone, Phone]) -> None:
    alice, bob = pair
    draft = alice.message_draft(bob.name, b"<b>any</b> content", "text/html").add("X-Note", "kept")
    request, signed = _relayed(alice, bob, draft)
    assert (request.body, request.get("content-type"), request.get("x-note")) == (draft.body, "text/html", "kept")
    assert request.uri == bob.contact
    assert request.call_id == signed.call_id
    assert request.get("cseq") == signed.get("CSeq")
    assert int(request.get("max-forwards")) == 69
    assert not request.has("record-route")
    vias = request.all("via")
    assert len(vias) == 2
    assert param(vias[1], "branch") == param(signed.get("Via"), "branch")
    assert param(vias[0], "branch").startswith("z9hG4bK")
    assert param(vias[1], "received")
    bob.answer(request, 288, "Read aloud", ("X-Bob", "yes"))
    answer = alice.response_to(signed)
    assert (answer.status, answer.start, answer.get("x-bob")) == (288, "SIP/2.0 288 Read aloud", "yes")
    assert len(answer.all("via")) == 1
    assert answer.get("to").endswith(";tag=phone")


@pytest.mark.req("C-109")
def test_c109_without_max_forwards(pair: tuple[Phone, Phone]) -> None:
    alice, bob = pair
    request, signed = _relayed(alice, bob, alice.message_draft(bob.name).drop("Max-Forwards"))
    assert request.get("max-forwards") == "70"
    bob.answer(request)
    assert alice.response_to(signed).status == 200


@pytest.mark.req("C-108")
def test_c108_max_forwards_used_up(pair: tuple[Phone, Phone]) -> None:
    alice, bob = pair
    assert alice.settled(alice.message_draft(bob.name).set("Max-Forwards", "0")).status == 483
    bob.assert_silent(0.1)


@pytest.mark.req("C-078")
def test_c078_credentials_for_others_are_kept_ours_are_not(pair: tuple[Phone, Phone]) -> None:
    alice, bob = pair
    other = 'Digest username="x", realm="elsewhere", nonce="n", uri="sip:y", response="0123"'
    request, _ = _relayed(alice, bob, alice.message_draft(bob.name).add("Proxy-Authorization", other))
    assert request.all("proxy-authorization") == [other]
    bob.answer(request)


@pytest.mark.req("C-078", "A-08")
def test_c078_an_answer_to_our_challenge_is_shown_to_nobody(pair: tuple[Phone, Phone]) -> None:
    """Also where it stands in Authorization: it would let the other side guess passwords at leisure."""
    alice, bob = pair
    draft = alice.message_draft(bob.name)
    signed = alice.signed(draft)
    signed.headers = [
        ("Authorization" if name == "Proxy-Authorization" else name, value) for name, value in signed.headers
    ]
    alice.send(signed)
    request = bob.request()
    assert not request.has("authorization")
    assert "response=" not in request.raw.decode()
    bob.answer(request)
    assert alice.response_to(signed).status == 200


@pytest.mark.req("C-105", "A-03")
def test_relay_shows_no_other_author(pair: tuple[Phone, Phone]) -> None:
    """Neither inside a CPIM wrapper nor with another domain behind the own name."""
    alice, bob = pair
    inside = b"From: <sip:ceo@sip.example.net>\r\nTo: <sip:b@x>\r\n\r\nContent-Type: text/plain\r\n\r\npay at once"
    assert alice.settled(alice.message_draft(bob.name, inside, "message/cpim")).status == 403
    draft = alice.message_draft(bob.name).set("From", f'"CEO" <sip:{alice.name}@bank.example>;tag=x')
    assert alice.settled(draft).status == 403
    bob.assert_silent(0.1)


@pytest.mark.req("A-05")
def test_a05_claims_of_identity_go_no_further(pair: tuple[Phone, Phone]) -> None:
    alice, bob = pair
    draft = alice.message_draft(bob.name)
    for name in ("P-Asserted-Identity", "Remote-Party-ID", "P-Preferred-Identity"):
        draft.add(name, "<sip:ceo@sip.example.net>")
    request, _ = _relayed(alice, bob, draft.add("X-SMS-To", "5550001111").add("P-Asserted-Identity ", "<sip:b@x>"))
    assert "ceo" not in request.raw.decode()
    assert not request.has("x-sms-to")
    assert not request.has("p-asserted-identity")
    bob.answer(request)


@pytest.mark.req("A-03", "C-104")
def test_relay_shows_the_account_only(pair: tuple[Phone, Phone]) -> None:
    alice, bob = pair
    for who in ("sip:ceo@sip.example.net", "sip:5551234567@sip.example.net"):
        draft = alice.message_draft(bob.name).set("From", f"<{who}>;tag=x")
        assert alice.settled(draft).status == 403
    bob.assert_silent(0.1)


@pytest.mark.req("C-115")
@pytest.mark.parametrize(("theirs", "ours"), [(503, 500), (500, 500), (486, 486), (603, 603), (302, 302)])
def test_c115_what_the_phone_says(pair: tuple[Phone, Phone], theirs: int, ours: int) -> None:
    alice, bob = pair
    request, signed = _relayed(alice, bob, alice.message_draft(bob.name))
    bob.answer(request, theirs, "Said the phone")
    answer = alice.wire.receive()  # not by `response_to`: a phone's 6xx is passed on
    assert (answer.status, answer.call_id) == (ours, signed.call_id)


@pytest.mark.req("C-110", "A-16")
def test_c110_loop(pair: tuple[Phone, Phone]) -> None:
    """A request that comes back with our Via in it and nothing changed."""
    alice, bob = pair
    request, signed = _relayed(alice, bob, alice.message_draft(bob.name))
    bob.answer(request)
    assert alice.response_to(signed).status == 200
    challenge = alice.ask(alice.message_draft(bob.name)).challenges()[0]
    back = signed.copy().drop("Proxy-Authorization")
    back.headers.insert(1, ("Via", request.all("via")[0]))
    back.set_first_via(alice.via()).add("Proxy-Authorization", alice.credentials.header(challenge, back))
    assert alice.ask(back).status == 482
    bob.assert_silent(0.1)


@pytest.mark.req("C-111")
def test_c111_our_own_route_is_taken_off(relaying: Lab, pair: tuple[Phone, Phone]) -> None:
    alice, bob = pair
    host, port = relaying.address_of(alice.wire.name)
    draft = alice.message_draft(bob.name).add("Route", f"<sip:{host}:{port};lr>")
    request, signed = _relayed(alice, bob, draft)
    assert not request.has("route")
    bob.answer(request)
    assert alice.response_to(signed).status == 200


@pytest.mark.req("C-112", "D11")
@pytest.mark.parametrize("where", ["route", "second route", "uri"])
def test_c112_nothing_is_passed_on_elsewhere(relaying: Lab, pair: tuple[Phone, Phone], where: str) -> None:
    alice, bob = pair
    draft = alice.message_draft(bob.name)
    if where == "uri":
        draft.uri = f"sip:{bob.name}@elsewhere.example.com"
    else:
        own = [f"<sip:127.0.0.1:{relaying.sip_port};lr>"] if where == "second route" else []
        draft.add("Route", ", ".join([*own, "<sip:elsewhere.example.com;lr>"]))
    assert alice.settled(draft).status == 403
    bob.assert_silent(0.1)


@pytest.mark.req("C-113")
def test_c113_header_part_and_method_of_a_contact(relaying: Lab, transport: str) -> None:
    alice, bob = relaying.phone(relaying.account(), transport), relaying.phone(relaying.account(), transport)
    bob.register(f"<{bob.contact};method=INVITE?Route=%3Csip:192.0.2.1%3E>")
    request, _ = _relayed(alice, bob, alice.message_draft(bob.name))
    assert request.uri == bob.contact
    bob.answer(request)
    alice.close()
    bob.close()


@pytest.mark.req("C-116", "C-117")
def test_c116_c117_scheme_and_extension(pair: tuple[Phone, Phone]) -> None:
    alice, bob = pair
    draft = alice.message_draft(bob.name)
    draft.uri = "mailto:bob@sip.example.net"
    assert alice.ask(draft).status == 416
    response = alice.ask(alice.message_draft(bob.name).add("Proxy-Require", "foo"))
    assert (response.status, response.get("unsupported")) == (420, "foo")


@pytest.mark.req("C-094")
@pytest.mark.parametrize(
    ("answers", "expected"),
    [((486, 200), 200), ((486, 603), 603), ((500, 404), 404), ((415, 404), 415)],
)
def test_c094_forked_the_best_answer(relaying: Lab, answers: tuple[int, int], expected: int) -> None:
    receiver = relaying.account()
    alice = relaying.phone(relaying.account())
    phones = [relaying.phone(receiver, "tcp"), relaying.phone(receiver, "tls")]
    for phone in phones:
        phone.register()
    signed = alice.signed(alice.message_draft(receiver.name))
    alice.send(signed)
    for phone, status in zip(phones, answers, strict=True):
        phone.answer(phone.request(), status, "x")
    answer = alice.wire.receive()
    assert (answer.status, answer.call_id) == (expected, signed.call_id)
    alice.wire.assert_silent(0.3)
    for phone in (alice, *phones):
        phone.close()


@pytest.mark.req("C-065f")
def test_relay_by_one_flow_of_each_phone(relaying: Lab) -> None:
    """RFC 5626 section 7: never two contacts of one instance at a time."""
    receiver, alice = relaying.account(), relaying.phone(relaying.account())
    flows = [relaying.phone(receiver, "tcp"), relaying.phone(receiver, "tls")]
    for number, phone in enumerate(flows, 1):
        contact = f'<{phone.contact}>;reg-id={number};+sip.instance="<urn:uuid:{receiver.did}>"'
        phone.authenticated(phone.register_draft(contact).add("Supported", "outbound"))
    signed = alice.signed(alice.message_draft(receiver.name, "once"))
    alice.send(signed)
    flows[1].answer(flows[1].request(), 430, "Flow Failed")
    flows[0].take()
    assert alice.response_to(signed).status == 200
    signed = alice.signed(alice.message_draft(receiver.name, "once again"))
    alice.send(signed)
    flows[1].take()
    assert alice.response_to(signed).status == 200
    flows[0].assert_silent()
    for phone in (alice, *flows):
        phone.close()


@pytest.mark.req("D11", "A-11")
@pytest.mark.parametrize(("theirs", "ours"), [(302, 302), (401, 403), (407, 403)])
def test_a_phone_cannot_send_another_somewhere_or_ask_it_for_a_password(
    pair: tuple[Phone, Phone], theirs: int, ours: int
) -> None:
    alice, bob = pair
    request, signed = _relayed(alice, bob, alice.message_draft(bob.name))
    challenge = 'Digest realm="Your PBX", nonce="chosen", algorithm=MD5'
    headers = [("Contact", "<sip:19005551234@sip.example.net>"), ("WWW-Authenticate", challenge)]
    bob.answer(request, theirs, "Go there", *headers, ("Proxy-Authenticate", challenge), ("X-Kept", "yes"))
    answer = alice.response_to(signed)
    assert (answer.status, answer.get("x-kept")) == (ours, "yes")
    assert not any(answer.has(name) for name in ("contact", "www-authenticate", "proxy-authenticate"))


@pytest.mark.req("A-16")
def test_relay_never_goes_back_to_the_sender(relaying: Lab, transport: str) -> None:
    account = relaying.account()
    one, other = relaying.phone(account, transport), relaying.phone(account, transport)
    one.register()
    assert one.settled(one.message_draft(account.name)).status == 480
    other.register()
    request, signed = _relayed(one, other, one.message_draft(account.name, "to my other phone"))
    other.answer(request)
    assert one.response_to(signed).status == 200
    one.assert_silent(0.1)
    one.close()
    other.close()


@pytest.mark.req("C-028")
def test_relay_nobody_is_there(relaying: Lab, pair: tuple[Phone, Phone]) -> None:
    alice, _ = pair
    assert alice.message(relaying.account().name).status == 480


@pytest.mark.req("C-028", "C-042")
def test_c028_no_answer_is_no_408(relaying: Lab) -> None:
    """The phone's flow breaks while its answer is awaited: 480, never 408 (RFC 4320 section 4.2), and not sent anew."""
    alice, bob = relaying.phone(relaying.account()), relaying.phone(relaying.account(), "tcp")
    bob.register()
    signed = alice.signed(alice.message_draft(bob.name, "once"))
    alice.send(signed)
    bob.request()
    bob.close()
    assert alice.response_to(signed).status == 480
    again = relaying.phone(bob.name, "tcp", bob.credentials.password)
    again.register()
    assert alice.ask(signed).status == 480  # a copy: the same answer, and nothing to the phone
    again.assert_silent()
    alice.close()
    again.close()


def test_relay_is_bounded_by_account(relaying: Lab) -> None:
    """Each that waits for a phone is held: twenty of one account, and others are not in their way."""
    alice, other, bob = (relaying.phone(relaying.account(), "tcp") for _ in range(3))
    bob.register()
    drafts = [alice.signed(alice.message_draft(bob.name, "x" * 5000)) for _ in range(21)]
    for draft in drafts:
        alice.send(draft)
    requests = [bob.request() for _ in range(20)]
    refused = alice.response_to(drafts[20])
    assert (refused.status, refused.has("retry-after")) == (480, True)
    signed = other.signed(other.message_draft(bob.name, "from another"))
    other.send(signed)
    bob.take()
    assert other.response_to(signed).status == 200
    for request in requests:
        bob.answer(request)
    assert [alice.response_to(draft).status for draft in drafts[:20]] == [200] * 20
    for phone in (alice, other, bob):
        phone.close()


def test_relay_is_not_stored(relaying: Lab, pair: tuple[Phone, Phone]) -> None:
    alice, bob = pair
    request, signed = _relayed(alice, bob, alice.message_draft(bob.name, "leaves no trace"))
    bob.answer(request)
    alice.response_to(signed)
    assert "leaves no trace" not in json.dumps(relaying.listed("messages"))
    assert any(event["to"] == bob.name for event in relaying.events("relayed"))


# --- OPTIONS and what we do not serve --------------------------------------------------------------------------------


@pytest.mark.req("C-107", "D3")
@pytest.mark.parametrize("user", ["", "c0001@", "nobody@", "s@"])
def test_options_of_a_pbx_that_qualifies(lab: Lab, make_phone: MakePhone, transport: str, user: str) -> None:
    phone = make_phone("anybody", transport)
    answer = phone.ask(phone.draft("OPTIONS", f"sip:{user}sip.example.net"))
    assert answer.status == 200
    assert re.search(r"\bMESSAGE\b", answer.get("allow"))


@pytest.mark.parametrize(("method", "status"), [("INVITE", 405), ("BYE", 405), ("REFER", 405), ("FOO", 501)])
def test_the_rest_is_refused(lab: Lab, make_phone: MakePhone, transport: str, method: str, status: int) -> None:
    phone = make_phone("anybody", transport)
    answer = phone.ask(phone.draft(method, "sip:c0001@sip.example.net"))
    assert answer.status == status
    assert "MESSAGE" in answer.get("allow")


@pytest.mark.req("C-111")
@pytest.mark.parametrize("method", ["REGISTER", "MESSAGE", "OPTIONS", "SUBSCRIBE"])
def test_c111_every_leading_route_of_ours_is_taken_off(lab: Lab, phone: Phone, account: Account, method: str) -> None:
    """RFC 3261 section 16.4 and 16.6 (6, 7): pjsua with an outbound proxy and a proxy of its account sends two."""
    host, port = lab.address_of(phone.wire.name)
    ours = [f"<sip:{host}:{port};lr>", f"<sip:127.0.0.1;transport={phone.wire.name};lr>", f"<sip:{phone.domain}.;lr>"]
    assert _accepted(phone, account, method, *ours, ours[0])
    assert _accepted(phone, account, method, ", ".join([*ours, "<sips:localhost:1;lr>"]))


@pytest.mark.req("C-112", "D11")
@pytest.mark.parametrize("method", ["REGISTER", "MESSAGE", "OPTIONS", "SUBSCRIBE"])
def test_c112_a_route_elsewhere_is_refused_for_every_method(
    lab: Lab, phone: Phone, account: Account, method: str
) -> None:
    host, port = lab.address_of(phone.wire.name)
    ours = f"<sip:{host}:{port};lr>"
    for routes in (["<sip:192.0.2.1;lr>"], [ours, "<sip:192.0.2.1;lr>"], [f"{ours}, {ours}, <sip:192.0.2.1;lr>"]):
        assert phone.settled(_draft(phone, account, method, *routes)).status == 403


def _draft(phone: Phone, account: Account, method: str, *routes: str) -> Draft:
    make = {
        "REGISTER": lambda: phone.register_draft(f"<{phone.contact}>"),
        "MESSAGE": lambda: phone.message_draft("2125550123", "by two routes"),
        "OPTIONS": lambda: phone.draft("OPTIONS"),
        "SUBSCRIBE": lambda: subscribe_draft(phone, account.sub),
    }[method]
    draft = make()
    for route in routes:
        draft.add("Route", route)
    return draft


def _accepted(phone: Phone, account: Account, method: str, *routes: str) -> bool:
    return phone.settled(_draft(phone, account, method, *routes)).status in (200, 202)


@pytest.mark.parametrize("method", ["REGISTER", "MESSAGE", "OPTIONS", "SUBSCRIBE"])
def test_our_domain_may_end_with_the_dot_of_the_root(phone: Phone, account: Account, method: str) -> None:
    draft = _draft(phone, account, method)
    draft.uri = draft.uri.replace(phone.domain, f"{phone.domain}.")
    for name in ("From", "To"):
        draft.set(name, draft.get(name).replace(phone.domain, f"{phone.domain}."))
    assert phone.settled(draft).status in (200, 202)
