"""What real clients write, as it was read off the wire: Asterisk, baresip, linphone, pjsua2, aiosip."""

from __future__ import annotations

import hashlib
import re
import time
import zlib
from email.utils import formatdate

import pytest

from tests.support.sip.wire import LENGTH, Credentials, Draft, Phone, param

from .conftest import MakePhone
from .lab import Account, Lab

TO = "5554443001"


def _address(lab: Lab) -> str:
    return f"127.0.0.1:{lab.sip_port}"


# --- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.req("G05")
def test_to_and_from_without_angle_brackets(lab: Lab, account: Account, phone: Phone) -> None:
    """linphone: header parameters behind a bare URI are the header's."""
    draft = phone.register_draft(f"<{phone.contact}>").set("To", phone.aor).set("From", f"{phone.aor};tag=Ab~1")
    assert phone.authenticated(draft).status == 200
    draft = phone.message_draft(TO).set("To", f"sip:{TO}@{phone.domain}").set("From", f"{phone.aor};tag=Ab~2")
    response = phone.authenticated(draft)
    assert response.status == 202
    assert re.fullmatch(rf"sip:{TO}@sip\.example\.net;tag=\w{{16,}}", response.get("to"))
    lab.sms(account.did, "seen")
    assert phone.take().get("to") == f"<{phone.aor}>"


@pytest.mark.req("S-088")
def test_domain_is_the_servers_address(lab: Lab, account: Account, phone: Phone) -> None:
    """Phones are given an IP address and a port instead of a domain, and write it everywhere."""
    phone.domain = _address(lab)
    draft = phone.register_draft(f"<{phone.contact}>")
    assert phone.authenticated(draft).status == 200
    assert phone.message(TO, "by address").status == 202
    assert lab.texts(account.did) == ["by address"]


@pytest.mark.req("G05")
def test_phone_sees_the_domain_it_registered_with(lab: Lab, account: Account, phone: Phone) -> None:
    """Its answer to the sender then comes back here."""
    phone.domain = _address(lab)
    phone.register()
    lab.sms(account.did, "who")
    request = phone.take()
    assert request.get("to") == f"<sip:{account.name}@{_address(lab)}>"
    assert request.get("from").startswith(f"<sip:{lab.sender}@{_address(lab)}>")


@pytest.mark.req("S-088")
@pytest.mark.parametrize("port", ["", ":5060", ":65000"])
def test_to_and_from_with_other_ports(lab: Lab, account: Account, phone: Phone, port: str) -> None:
    """The port of To and From says nothing."""
    draft = phone.message_draft(TO).set("To", f"<sip:{TO}@127.0.0.1{port}>")
    draft.set("From", f"<sip:{account.name}@127.0.0.1{port}>;tag=x")
    assert phone.authenticated(draft).status == 202


@pytest.mark.req("C-054")
@pytest.mark.parametrize("suffix", [";transport=udp", ";transport=tcp", ";lr", ""])
def test_register_request_uri_with_port_and_transport(lab: Lab, phone: Phone, suffix: str) -> None:
    """baresip: `REGISTER sip:host:port;transport=udp`."""
    draft = phone.register_draft(f"<{phone.contact}>")
    draft.uri = f"sip:{_address(lab)}{suffix}"
    assert phone.authenticated(draft).status == 200


@pytest.mark.req("C-055")
def test_expires_in_the_contact_only(phone: Phone) -> None:
    """baresip has no Expires header, and a random user part."""
    host, port = phone.wire.local
    uri = f"sip:{phone.name}-0x5648f1a2@{host}:{port};transport={phone.wire.name}"
    assert phone.register(f"<{uri}>;expires=600").contacts() == {uri: 600}


@pytest.mark.req("C-055")
def test_unregister_by_expires_in_the_contact(phone: Phone) -> None:
    phone.register(f"<{phone.contact}>;expires=600")
    assert phone.register(f"<{phone.contact}>;expires=0").contacts() == {}


@pytest.mark.req("C-055", "F-17")
def test_instance_in_quotes_and_brackets(lab: Lab, account: Account, make_phone: MakePhone, transport: str) -> None:
    """linphone, pjsua2: the same instance under another contact is the same phone."""
    instance = '+sip.instance="<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>"'
    first, second = make_phone(account, transport), make_phone(account, transport)
    response = first.register(f"<{first.contact};ob>;{instance}")
    assert instance in response.get("contact")
    response = second.register(f"<{second.contact};ob>;{instance}")
    assert list(response.contacts()) == [f"{second.contact};ob"]
    lab.sms(account.did, "to the one phone")
    assert second.take().text == "to the one phone"
    first.assert_silent(0.1)


@pytest.mark.req("C-055")
def test_outbound_parameters_are_kept(lab: Lab, account: Account, tcp_phone: Phone) -> None:
    """pjsua2 on TCP: reg-id, +sip.instance, Supported: outbound, path."""
    contact = f'<{tcp_phone.contact};ob>;reg-id=1;+sip.instance="<urn:uuid:00000000-0000-0000-0000-0000a1b2c3d4>"'
    draft = tcp_phone.register_draft(contact, expires=300).add("Supported", "outbound, path")
    response = tcp_phone.authenticated(draft)
    assert response.status == 200
    assert "reg-id=1" in response.get("contact")
    lab.sms(account.did, "outbound")
    assert tcp_phone.take().uri == f"{tcp_phone.contact};ob"


# --- lengths ---------------------------------------------------------------------------------------------------------


@pytest.mark.req("C-008")
@pytest.mark.parametrize("padded", ["   {}", "{}   ", "\t{}", "00{}"])
def test_padded_content_length(lab: Lab, account: Account, phone: Phone, padded: str) -> None:
    """Asterisk and pjsua2 pad it with spaces."""
    draft = phone.message_draft(TO, "nineteen characters")
    assert phone.authenticated(draft.set("Content-Length", padded.format(19))).status == 202
    assert lab.texts(account.did) == ["nineteen characters"]


@pytest.mark.req("C-006")
def test_register_without_content_length(udp_phone: Phone) -> None:
    """linphone over UDP."""
    draft = udp_phone.register_draft(f"<{udp_phone.contact}>").drop("Content-Length")
    assert udp_phone.authenticated(draft).status == 200


@pytest.mark.req("C-006", "C-041")
def test_answer_without_content_length(lab: Lab, account: Account, udp_phone: Phone) -> None:
    """linphone's 200 over UDP."""
    udp_phone.register()
    lab.sms(account.did, "short answer")
    request = udp_phone.request()
    lines = [
        "SIP/2.0 200 Ok",
        f"Via: {request.get('via')}",
        f"From: {request.get('from')}",
        f"To: {request.get('to')};tag=x",
    ]
    lines += [f"Call-ID: {request.call_id}", f"CSeq: {request.get('cseq')}"]
    udp_phone.send(("\r\n".join(lines) + "\r\n\r\n").encode())
    lab.delivery(account.did, state="delivered", attempts=1)


# --- digest ----------------------------------------------------------------------------------------------------------


@pytest.mark.req("C-074")
@pytest.mark.parametrize(
    "uri", ["sip:{to}@127.0.0.1", "sip:{to}@127.0.0.1:{port}", "sip:{to}@127.0.0.1:{port};transport=udp"]
)
def test_digest_uri_without_the_port(lab: Lab, account: Account, phone: Phone, uri: str) -> None:
    """linphone leaves the port out."""
    phone.domain = _address(lab)
    phone.credentials.uri = uri.format(to=TO, port=lab.sip_port)
    assert phone.message(TO).status == 202


@pytest.mark.req("C-079")
def test_two_spaces_behind_the_header_name(phone: Phone) -> None:
    """linphone: `Proxy-Authorization:  Digest realm=...`, algorithm without quotes."""
    draft = phone.signed(phone.message_draft(TO))
    value = draft.get("Proxy-Authorization")
    assert phone.ask(draft.set("Proxy-Authorization", "  " + re.sub(" ", "  ", value, count=1))).status == 202


@pytest.mark.req("C-067")
@pytest.mark.parametrize("quoted", ["algorithm", "qop", "nc"])
def test_quoted_digest_parameters(phone: Phone, quoted: str) -> None:
    """Some clients quote what the grammar has unquoted."""
    value = {"algorithm": '"MD5"', "qop": '"auth"', "nc": '"00000001"'}[quoted]
    phone.credentials.extra = {quoted: value}
    assert phone.authenticated(phone.register_draft(f"<{phone.contact}>")).status == 200


def _aiosip(phone: Phone, draft: Draft, challenge_value: str) -> str:
    """aiosip 0.2: all that the challenge said comes back in quotes, with an answer in the style of RFC 2069."""
    fields = {}
    for part in challenge_value.removeprefix("Digest ").split(", "):
        name, value = part.split("=")  # as there: a value with another `=` would end it
        fields[name] = value.strip('"')
    uri = f"<{draft.uri}>"
    first = hashlib.md5(f"{phone.name}:{fields['realm']}:{phone.credentials.password}".encode()).hexdigest()
    second = hashlib.md5(f"{draft.method}:{uri}".encode()).hexdigest()
    response = hashlib.md5(f"{first}:{fields['nonce']}:{second}".encode()).hexdigest()
    fields |= {"username": phone.name, "uri": uri, "response": response}
    return "Digest " + ",".join(f"{k}={v}" if k == "algorithm" else f'{k}="{v}"' for k, v in fields.items())


@pytest.mark.req("C-069", "C-072")
def test_aiosip_with_the_legacy_switch(lab: Lab, account: Account, phone: Phone) -> None:
    statuses = {}
    for legacy in (False, True):
        if legacy:
            lab.cli("account", "set", account.name, "--legacy-digest")
        draft = phone.register_draft(f"<{phone.contact}>")
        deadline = time.monotonic() + (3 if legacy else 0)
        while True:
            challenged = phone.ask(draft)
            again = draft.next()
            again.add("Authorization", _aiosip(phone, again, challenged.get("www-authenticate")))
            response = phone.ask(again)
            if response.status == 200 or time.monotonic() >= deadline:
                break
            draft = phone.register_draft(f"<{phone.contact}>").set("CSeq", f"{again.get('CSeq').split()[0]}0 REGISTER")
        statuses[legacy] = response.status
    assert statuses == {False: 401, True: 200}
    message = phone.message_draft(TO, "legacy")
    challenged = phone.ask(message)
    again = message.next()
    again.add("Proxy-Authorization", _aiosip(phone, again, challenged.get("proxy-authenticate")))
    assert phone.ask(again).status == 202
    replay = again.copy().set("Via", phone.via()).set("Call-ID", "replayed-" + account.name)
    assert phone.ask(replay).status == 407  # a legacy answer is good for one request
    assert lab.texts(account.did) == ["legacy"]


@pytest.mark.req("C-069")
def test_legacy_switch_is_for_one_account(lab: Lab, account: Account, make_phone: MakePhone) -> None:
    other = lab.account()
    lab.cli("account", "set", account.name, "--legacy-digest")
    phone = make_phone(other)
    signed = phone.signed(phone.register_draft(), Credentials(other.name, other.password, qop=""))
    assert phone.ask(signed).status == 401


# --- whole clients ---------------------------------------------------------------------------------------------------


@pytest.mark.req("S-081", "S-083", "S-095")
def test_asterisk_message_send(lab: Lab, account: Account, make_phone: MakePhone, transport: str) -> None:
    """A trunk: the endpoint's name is the user name, From is the second argument of MessageSend."""
    trunk = make_phone(account.sub, transport)
    assert (
        trunk.authenticated(trunk.message_draft(TO, "x").set("From", f"<sip:{account.sub}@127.0.0.1>;tag=1")).status
        == 403
    )
    draft = Draft("MESSAGE", f"sip:{TO}@{_address(lab)}", body=b"from the dialplan")
    draft.add("Via", trunk.via(params=";rport")).add("From", f'"{account.did}" <sip:{account.did}@127.0.0.1>;tag=1e-4f')
    draft.add("To", f"<sip:{TO}@127.0.0.1>").add("Call-ID", f"ast-{account.name}").add("CSeq", "12873 MESSAGE")
    draft.add("Max-Forwards", "70").add("User-Agent", "Asterisk PBX").add("Content-Type", "text/plain")
    draft.add("Content-Length", f"    {len(draft.body)}")
    assert trunk.authenticated(draft).status == 202
    (row,) = lab.rows(account.did)
    assert (row["from"], row["account"], row["text"]) == (account.did, account.sub, "from the dialplan")


@pytest.mark.req("C-107")
def test_asterisk_qualify(lab: Lab, account: Account, phone: Phone) -> None:
    """OPTIONS with To `<sip:host>`, every few seconds; any final answer will do, and it must come."""
    draft = phone.options().set("From", f"<sip:{account.name}@127.0.0.1>;tag=q").set("To", "<sip:127.0.0.1>")
    draft.uri = f"sip:{_address(lab)}"
    draft.set("Contact", f"<{phone.contact}>").set("Content-Length", "    0")
    assert phone.ask(draft).status == 200


@pytest.mark.req("S-085", "G05")
def test_linphone_registration(lab: Lab, account: Account, udp_phone: Phone) -> None:
    phone = udp_phone
    host, port = phone.wire.local
    phone.domain = "127.0.0.1"
    contact = f'<sip:{account.name}@{host}:{port};transport=udp>;+sip.instance="<urn:uuid:{account.name}-4-8>"'
    draft = Draft("REGISTER", "sip:127.0.0.1")
    draft.add("Via", f"SIP/2.0/UDP {host}:{port};branch=z9hG4bK.{account.name}~1;rport")
    draft.add("From", f"<{phone.aor}>;tag=Kz~9-.x").add("To", phone.aor).add("CSeq", "20 REGISTER")
    draft.add("Call-ID", f"q2~.{account.name}").add("Max-Forwards", "70").add(
        "Supported", "replaces, outbound, gruu, path"
    )
    draft.add("Accept", "application/sdp", "text/plain", "application/vnd.gsma.rcs-ft-http+xml")
    draft.add("Contact", contact).add("Expires", "3600").add("User-Agent", "Unknown (belle-sip/5.1.65)")
    phone.credentials.uri = "sip:127.0.0.1"
    response = phone.authenticated(draft)
    assert response.status == 200
    assert param(response.get("via"), "received") == "127.0.0.1"
    lab.sms(account.did, "to linphone")
    request = phone.take()
    assert request.get("to") == f"<sip:{account.name}@127.0.0.1>"  # the room is (From, To): an AOR, never a contact
    assert request.has("content-type")
    assert request.has("date")


IMDN = (
    b'<?xml version="1.0" encoding="UTF-8"?><imdn xmlns="urn:ietf:params:xml:ns:imdn"><message-id>x</message-id>'
    b"<datetime>2026-01-01T00:00:00Z</datetime><delivery-notification><status><delivered/></status>"
    b"</delivery-notification></imdn>"
)


@pytest.mark.req("G06")
@pytest.mark.parametrize("packed", [True, False])
def test_linphone_delivery_notice_is_absorbed(lab: Lab, account: Account, phone: Phone, packed: bool) -> None:
    """Its answer to every text: taken with 200, never sent, never paid for."""
    draft = phone.message_draft(TO, zlib.compress(IMDN) if packed else IMDN, "message/imdn+xml")
    if packed:
        draft.add("Content-Encoding", "deflate")
    draft.add("Date", formatdate(usegmt=True)).add("Supported", "replaces, outbound, gruu").add(
        "Priority", "non-urgent"
    )
    assert phone.authenticated(draft).status == 200
    assert lab.rows(account.did) == []


@pytest.mark.req("G06", "C-105")
@pytest.mark.parametrize("inner", ["message/imdn+xml", "application/im-iscomposing+xml"])
def test_notices_in_cpim_are_absorbed(lab: Lab, account: Account, phone: Phone, inner: str) -> None:
    cpim = f"From: <{phone.aor}>\r\nTo: <sip:{TO}@x>\r\n\r\nContent-Type: {inner}\r\n\r\n".encode() + IMDN
    assert phone.message(TO, cpim, "message/cpim").status == 200
    assert lab.rows(account.did) == []


@pytest.mark.req("S-084", "S-087")
@pytest.mark.parametrize("method", ["SUBSCRIBE", "PUBLISH"])
def test_presence_is_answered(phone: Phone, method: str) -> None:
    """linphone, pjsua2 and Zoiper ask for it: an answer must come, and no endless challenges."""
    body = b'<presence xmlns="urn:ietf:params:xml:ns:pidf"/>' if method == "PUBLISH" else b""
    draft = phone.draft(method, phone.aor, body, "application/pidf+xml").add("Event", "presence").add("Expires", "600")
    assert phone.settled(draft.add("Contact", f"<{phone.contact}>")).status == 200


@pytest.mark.req("C-003", "G26")
def test_keep_alives_between_requests(lab: Lab, account: Account, tcp_phone: Phone) -> None:
    tcp_phone.register()
    for _ in range(3):
        tcp_phone.send(b"\r\n\r\n")
    lab.sms(account.did, "between pings")
    assert tcp_phone.take().text == "between pings"


@pytest.mark.req("A-20")
def test_one_byte_at_a_time(lab: Lab, account: Account, tcp_phone: Phone) -> None:
    draft = tcp_phone.signed(tcp_phone.message_draft(TO, "h\u00e9"))
    for byte in draft.bytes():
        tcp_phone.send(bytes([byte]))
    assert tcp_phone.response_to(draft).status == 202
    assert lab.texts(account.did) == ["h\u00e9"]


@pytest.mark.req("A-20")
def test_fifty_messages_in_one_write(lab: Lab, account: Account, tcp_phone: Phone) -> None:
    drafts = [tcp_phone.signed(tcp_phone.message_draft(TO, f"text {number}")) for number in range(50)]
    tcp_phone.send(b"\r\n\r\n".join(draft.bytes() for draft in drafts))
    assert {tcp_phone.response_to(draft).status for draft in drafts} == {202}
    assert sorted(lab.texts(account.did)) == sorted(f"text {number}" for number in range(50))


def test_drafts_count_their_body() -> None:
    assert Draft("X", "sip:a", [("Content-Length", LENGTH)], b"abc").bytes().endswith(b"Content-Length: 3\r\n\r\nabc")
