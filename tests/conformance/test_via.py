"""Via and responses: C-023 to C-031 (reliability plan, section 2.2); for C-027, C-028, C-030 see test_store_blocked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.sip.wire import Phone, Tcp, Udp, branch, listening, param, token

from .conftest import MakePhone
from .lab import Account, Lab


@pytest.mark.req("C-023")
@pytest.mark.parametrize("sent_by", ["phone.example.invalid", "192.0.2.7:5070", "[2001:db8::9]:5060", "127.0.0.2"])
def test_c023_received_is_the_real_source(phone: Phone, sent_by: str) -> None:
    response = phone.ask(phone.options().set("Via", phone.via(sent_by, "")))
    assert response.status == 200
    via = response.get("via")
    assert param(via, "received") == "127.0.0.1"
    assert via.startswith(f"SIP/2.0/{phone.wire.name.upper()} {sent_by};")


@pytest.mark.req("C-023")
def test_c023_received_of_the_client_is_replaced(phone: Phone) -> None:
    response = phone.ask(phone.options().set("Via", phone.via("192.0.2.7", ";received=192.0.2.9;rport=9")))
    via = response.get("via")
    assert via.count("received=") == 1
    assert param(via, "received") == "127.0.0.1"
    assert param(via, "rport") == str(phone.wire.local[1])


@pytest.mark.req("C-024")
def test_c024_rport(lab: Lab, phone: Phone) -> None:
    response = phone.ask(phone.options().set("Via", phone.via(params=";rport")))
    via = response.get("via")
    assert param(via, "rport") == str(phone.wire.local[1])
    assert param(via, "received") == "127.0.0.1"
    assert response.sender == lab.address_of(phone.wire.name)


@pytest.mark.req("C-024")
def test_c024_rport_in_the_middle_of_other_parameters(phone: Phone) -> None:
    value = f'SIP/2.0/UDP 192.0.2.1 ; RPORT ; branch = {branch()} ;x="rport;"'
    response = phone.ask(phone.options().set("Via", value))
    assert f"PORT={phone.wire.local[1]}" in response.get("via").upper().replace(" ", "")
    assert 'x="rport;"' in response.get("via")


@pytest.mark.req("C-025", "D5")
def test_c025_answer_goes_to_the_packet_source_only(phone: Phone) -> None:
    response = phone.ask(phone.options().set("Via", phone.via("192.0.2.9:9", ";maddr=192.0.2.9")))
    assert response.status == 200


@pytest.mark.req("C-025", "D5")
@pytest.mark.parametrize("method", ["OPTIONS", "REGISTER", "MESSAGE", "INVITE"])
def test_c025_no_reflection_to_sent_by_or_maddr(phone: Phone, method: str) -> None:
    with listening(phone.wire.name) as other, listening("udp") as datagrams:
        host, port = other.address
        draft = phone.draft(method)
        draft.set(
            "Via", phone.via(f"{host}:{port}", f";maddr=127.0.0.1;received=127.0.0.1;rport={datagrams.address[1]}")
        )
        draft.add("Contact", f"<sip:x@127.0.0.1:{datagrams.address[1]}>")
        draft.add("Route", f"<sip:127.0.0.1:{datagrams.address[1]};lr>")
        assert phone.ask(draft).status in (200, 401, 403, 405, 407)
        other.assert_untouched(0.1)
        datagrams.assert_untouched(0.1)


def _mirror(phone: Phone, method: str) -> None:
    draft = phone.draft(method).set("To", f'"T" <sip:5554443001@{phone.domain}>;x=1')
    draft.headers[1:1] = [
        ("Via", "SIP/2.0/TLS 192.0.2.1:5061;branch=z9hG4bKsecond, SIP/2.0/UDP [::1];branch=z9hG4bKthird;received=::2"),
        ("Via", "SIP / 2.0 / SCTP first.example.com: 4000 ;ttl=16;maddr=192.0.2.2 ;branch=z9hG4bKa7c6"),
    ]
    phone.send(draft)
    first = phone.response_to(draft)
    phone.send(draft)
    again = phone.response_to(draft)
    assert first.get("from") == draft.get("From")
    assert first.call_id == draft.call_id
    assert first.get("cseq") == draft.get("CSeq")
    below = [part.strip() for value in first.all("via") for part in value.split(",")][1:]
    assert below == [
        "SIP/2.0/TLS 192.0.2.1:5061;branch=z9hG4bKsecond",
        "SIP/2.0/UDP [::1];branch=z9hG4bKthird;received=::2",
        "SIP / 2.0 / SCTP first.example.com: 4000 ;ttl=16;maddr=192.0.2.2 ;branch=z9hG4bKa7c6",
    ]
    assert first.get("to").startswith(draft.get("To") + ";tag=")
    assert len(param(first.get("to"), "tag")) >= 16  # 64 bits in hex
    assert again.get("to") == first.get("to")


@pytest.mark.req("C-026")
@pytest.mark.parametrize("method", ["OPTIONS", "MESSAGE", "INVITE", "SUBSCRIBE", "NONSENSE"])
def test_c026_mirrored_headers_and_to_tag(phone: Phone, method: str) -> None:
    _mirror(phone, method)


@pytest.mark.req("C-026")
def test_c026_to_tags_of_two_requests_differ(phone: Phone) -> None:
    tags = {param(phone.ask(phone.options()).get("to"), "tag") for _ in range(20)}
    assert len(tags) == 20


@pytest.mark.req("C-026")
def test_c026_to_tag_of_the_request_is_kept(phone: Phone) -> None:
    response = phone.ask(phone.options().set("To", f"<sip:{phone.domain}>;tag=mine"))
    assert response.get("to") == f"<sip:{phone.domain}>;tag=mine"


@pytest.mark.req("C-026")
def test_c026_accepted_message(account: Account, phone: Phone) -> None:
    draft = phone.signed(phone.message_draft("5554443001"))
    first, again = phone.ask(draft), phone.ask(draft)
    assert first.status == 202
    assert again.raw == first.raw
    assert len(param(first.get("to"), "tag")) >= 16


@pytest.mark.req("C-029")
def test_c029_response_that_belongs_to_nobody(lab: Lab, phone: Phone) -> None:
    for via in (
        "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKnobody",
        f"SIP/2.0/UDP 127.0.0.1:{lab.sip_port};branch=z9hG4bKx",
    ):
        phone.send(
            f"SIP/2.0 200 OK\r\nVia: {via}\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\n"
            f"Call-ID: {token()}\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n".encode()
        )
        phone.assert_silent(0.1)
    assert phone.ask(phone.options()).status == 200


@pytest.mark.req("C-031")
def test_c031_stray_response_with_a_broadcast_via(lab: Lab, phone: Phone) -> None:
    with listening() as other:
        phone.send(
            f"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:{lab.sip_port};branch=z9hG4bKx\r\n"
            f"Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bKy\r\nVia: SIP/2.0/UDP 127.0.0.1:{other.address[1]}\r\n"
            f"From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: {token()}\r\nCSeq: 1 MESSAGE\r\n"
            "Content-Length: 0\r\n\r\n".encode()
        )
        phone.assert_silent(0.1)
        other.assert_untouched(0.1)


@pytest.mark.req("C-031")
def test_c031_response_to_our_request_with_a_second_via(lab: Lab, account: Account, udp_phone: Phone) -> None:
    """Not ours any more (RFC 3261 section 8.1.3.3): discarded, so that the request is sent again."""
    udp_phone.register()
    lab.sms(account.did, "two vias")
    request = udp_phone.request()
    with listening() as other:
        request.headers.append(("Via", f"SIP/2.0/UDP 127.0.0.1:{other.address[1]};branch=z9hG4bKy"))
        udp_phone.answer(request)
        again = udp_phone.take(1.5)
        other.assert_untouched(0.1)
    assert again.branch == request.branch
    lab.delivery(account.did, state="delivered")


@pytest.mark.req("C-024")
def test_c024_two_phones_behind_one_address(lab: Lab, make_phone: MakePhone) -> None:
    """Requests that differ in the source port only."""
    wires = [Udp(lab.address) for _ in range(5)]
    phones = [Phone(lab.address, "anybody", "x", wire=wire) for wire in wires]
    drafts = [phone.options().set("Via", phone.via("10.0.0.1:5060")) for phone in phones]
    for phone, draft in zip(phones, drafts, strict=True):
        phone.send(draft)
    for phone, draft in zip(phones, drafts, strict=True):
        assert param(phone.response_to(draft).get("via"), "rport") == str(phone.wire.local[1])
        phone.close()


@pytest.mark.req("C-030")
def test_c030_no_connection_to_sent_by_after_the_stream_is_closed(lab: Lab) -> None:
    with listening("tcp") as other:
        wire = Tcp(lab.address)
        with Phone(lab.address, "anybody", "x", wire=wire) as phone:
            phone.send(phone.options().set("Via", phone.via(f"127.0.0.1:{other.address[1]}")))
            wire.reset()
        assert other.connections(0.3) <= 1


def test_advertised_host_is_in_our_via(tmp_path: Path) -> None:
    with Lab(tmp_path, 4, sip={"advertised": "sms.example.org"}) as lab:
        for transport in ("udp", "tcp"):
            account = lab.account()
            with lab.phone(account, transport) as phone:
                phone.register()
                lab.sms(account.did, "from behind NAT")
                via = phone.take().get("via")
                assert via.startswith(f"SIP/2.0/{transport.upper()} sms.example.org:{lab.sip_port};branch=")
