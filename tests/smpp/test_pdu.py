"""The codec: octets as the specification draws them, a foreign library's PDUs, and whatever a stranger may send."""

from __future__ import annotations

from struct import pack

import pytest
import smpplib.command
import smpplib.consts
from hypothesis import given
from hypothesis import strategies as st

from sipsms.smpp.pdu import (
    _TABLES,
    HEADER,
    MAX_PDU,
    Address,
    BadLength,
    BadPdu,
    Command,
    Framer,
    Pdu,
    Status,
    Tag,
    decode,
    encode,
    encode_response,
    nack,
)

# The example of section 3.2.4 of the specification: a bind_transmitter.
BIND = bytes.fromhex(
    "0000002F 00000002 00000000 00000001 534D50503354455354 00 7365637265743038 00 5355424D495431 00 50 01 01 00"
)
SM = {
    "service_type": "", "source_addr_ton": 1, "source_addr_npi": 1, "source_addr": "14165550000", "dest_addr_ton": 2,
    "dest_addr_npi": 1, "destination_addr": "4165550123", "esm_class": 3, "protocol_id": 0, "priority_flag": 1,
    "schedule_delivery_time": "", "validity_period": "000001000000000R", "registered_delivery": 17,
    "replace_if_present_flag": 0, "data_coding": 8, "sm_default_msg_id": 0, "short_message": "é".encode("utf-16-be"),
}  # fmt: skip


def raw(command: int, body: bytes, sequence: int = 7, length: int | None = None) -> bytes:
    return pack(">IIII", HEADER + len(body) if length is None else length, command, 0, sequence) + body


def test_the_example_of_the_specification_is_decoded() -> None:
    pdu = decode(BIND)
    assert (pdu.command, pdu.sequence, pdu.status) == (Command.BIND_TRANSMITTER, 1, 0)
    assert pdu.fields == {
        "system_id": "SMPP3TEST", "password": "secret08", "system_type": "SUBMIT1", "interface_version": 0x50,
        "addr_ton": 1, "addr_npi": 1, "address_range": "",
    }  # fmt: skip
    assert encode(pdu) == BIND


def test_a_pdu_is_encoded_and_decoded() -> None:
    pdu = Pdu(Command.SUBMIT_SM, 5, 0, SM, {Tag.USER_MESSAGE_REFERENCE: b"\x00\x07", 0x1499: b"vendor"})
    assert decode(encode(pdu)) == pdu


def test_every_command_is_encoded_and_decoded() -> None:
    for command in _TABLES:
        fields = {"dest_address": (Address(1, 1, "1"),)} if command == Command.SUBMIT_MULTI else {}
        assert decode(encode(Pdu(command, 3, 0, fields))).command == command


def test_the_codec_agrees_with_smpplib() -> None:
    theirs = smpplib.command.SubmitSM(
        "submit_sm", sequence=9, source_addr_ton=1, source_addr="4165550000", dest_addr_ton=1,
        destination_addr="4165550123", short_message=b"hello", registered_delivery=True, message_payload=b"",
        user_message_reference=513,
    )  # fmt: skip
    pdu = decode(theirs.generate())
    assert (pdu.fields["source_addr"], pdu.fields["short_message"]) == ("4165550000", b"hello")
    assert pdu.tlvs[Tag.USER_MESSAGE_REFERENCE] == b"\x02\x01"
    ours = encode(Pdu(Command.DELIVER_SM, 4, 0, SM))
    parsed = smpplib.command.DeliverSM("deliver_sm", sequence=1)
    parsed.parse(ours)
    assert (parsed.source_addr, parsed.short_message) == (b"14165550000", "é".encode("utf-16-be"))


def test_several_destinations_are_read() -> None:
    to = (Address(1, 1, "14165550001"), Address(0, 0, "", "friends"), Address(2, 1, "4165550002"))
    pdu = Pdu(Command.SUBMIT_MULTI, 6, 0, {**_without_destination(), "dest_address": to})
    assert decode(encode(pdu)).fields["dest_address"] == to
    answer = Pdu(0x80000021, 6, 0, {"message_id": "12", "unsuccess_sme": (to[0]._replace(status=0x0B),)})
    assert decode(encode(answer)) == answer


def _without_destination() -> dict[str, object]:
    return {name: value for name, value in SM.items() if not name.startswith("dest")}


def test_responses_are_encoded() -> None:
    request = Pdu(Command.SUBMIT_SM, 77)
    assert encode_response(request, 0, "abc") == raw(0x80000004, b"abc\0", 77)
    for command in (Command.DELIVER_SM, Command.DATA_SM):  # sections 4.6.2 and 4.7.2: an id that is empty
        assert encode_response(Pdu(command, 78)) == raw(0x80000000 | command, b"\0", 78)
    for command in (Command.CANCEL_SM, Command.ENQUIRE_LINK, Command.UNBIND):
        assert encode_response(Pdu(command, 79)) == raw(0x80000000 | command, b"", 79)
    refused = encode_response(request, Status.THROTTLED, "abc")
    assert refused == pack(">IIII", 16, 0x80000004, 0x58, 77)
    assert decode(refused).fields == {"message_id": ""}  # section 4.4.2: no body where it says no
    assert nack(Status.INVALID_COMMAND_ID, 4) == pack(">IIII", 16, 0x80000000, 3, 4)


def _sm(short: bytes, length: int | None = None) -> bytes:
    head = b"\0" + b"\1\1" + b"14165550000\0" + b"\1\1" + b"14165550123\0" + bytes(3) + b"\0\0" + bytes(4)
    return head + bytes((len(short) if length is None else length,)) + short


@pytest.mark.req("P-05", "P-06", "A-43")
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (_sm(b"x" * 10, 255), Status.INVALID_MESSAGE_LENGTH),
        (_sm(b"x" * 10, 11), Status.INVALID_MESSAGE_LENGTH),
        (_sm(b"x" * 255), Status.INVALID_MESSAGE_LENGTH),
        (b"", Status.INVALID_SERVICE_TYPE),
        (b"\0\1", Status.INVALID_COMMAND_LENGTH),
        (b"\0\1\1" + b"1" * 21 + b"\0", Status.INVALID_SOURCE),
        (b"\0\1\1no end", Status.INVALID_SOURCE),
        (b"\0\1\1" + b"1\0" + b"\1\1" + b"no end", Status.INVALID_DESTINATION),
        (_sm(b"x") + b"\x04\x24", Status.INVALID_OPTIONAL_PART),
        (_sm(b"x") + b"\x04\x24\x00\x05abcd", Status.INVALID_PARAMETER_LENGTH),
        (_sm(b"x") + b"\x04\x24\xff\xff", Status.INVALID_PARAMETER_LENGTH),
    ],
)
def test_a_broken_pdu_is_refused_with_its_status(body: bytes, status: Status) -> None:
    with pytest.raises(BadPdu) as wrong:
        decode(raw(Command.SUBMIT_SM, body))
    assert (wrong.value.status, wrong.value.sequence, wrong.value.command) == (status, 7, Command.SUBMIT_SM)


@pytest.mark.req("P-04")
def test_an_unknown_command_is_refused() -> None:
    with pytest.raises(BadPdu) as wrong:
        decode(raw(0x1234, b""))
    assert wrong.value.status is Status.INVALID_COMMAND_ID


@pytest.mark.req("P-03", "A-43")
@pytest.mark.parametrize("length", [0, 15, MAX_PDU + 1, 2**31, 2**32 - 1])
def test_an_impossible_length_is_refused_from_the_header(length: int) -> None:
    framer = Framer()
    framer.feed(raw(Command.SUBMIT_SM, b"", 9, length))
    with pytest.raises(BadLength) as wrong:
        framer.next()
    assert wrong.value.sequence == 9


def test_pdus_in_any_pieces_are_read() -> None:
    whole = [BIND, raw(Command.SUBMIT_SM, _sm(b"one")), raw(Command.ENQUIRE_LINK, b"")]
    framer, found = Framer(), []
    for octet in b"".join(whole):
        framer.feed(bytes((octet,)))
        found += list(framer)
    assert found == whole
    framer.feed(BIND)  # no octet was left before it
    assert list(framer) == [BIND]


@pytest.mark.req("A-43")
@given(st.sampled_from(sorted(_TABLES)), st.binary(max_size=400))
def test_any_octets_are_read_or_refused(command: int, body: bytes) -> None:
    try:
        pdu = decode(raw(command, body))
    except BadPdu as error:
        assert error.sequence == 7
    else:
        assert pdu.command == command


@given(
    st.sampled_from([Command.SUBMIT_SM, Command.DELIVER_SM]),
    st.binary(max_size=254),
    st.dictionaries(st.integers(0, 0xFFFF), st.binary(max_size=300), max_size=6),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
)
def test_any_pdu_is_decoded_as_encoded(command: int, short: bytes, tlvs: dict[int, bytes], source: str) -> None:
    pdu = Pdu(command, 1, 0, {**SM, "short_message": short, "source_addr": source}, tlvs)
    assert decode(encode(pdu)) == pdu


def test_a_text_cannot_end_a_field_early() -> None:
    pdu = Pdu(Command.DELIVER_SM, 1, 0, {**SM, "source_addr": "416\0evil", "short_message": b"x"})
    assert decode(encode(pdu)).fields["source_addr"] == "416evil"


def test_a_response_with_extra_octets_is_read() -> None:
    """Some programs send a NUL behind an unbind_resp, or two behind a message id: it was answered."""
    for rest in (b"\0", b"\0\0\0", b"\x04\x23\x00\x09ab"):
        assert decode(raw(0x80000004, b"4711\0" + rest)).fields == {"message_id": "4711"}
        assert decode(raw(0x80000006, rest)).command == 0x80000006


@pytest.mark.req("P-06")
@pytest.mark.parametrize(
    "tail", [b"\x14\x01\x00\x40abc", b"\x14\x01\x00", b"\x14", b"\x04\x24\xff\xff", b"\x04\x27\x00\x01"]
)
def test_an_unfinished_parameter_of_an_smsc_is_dropped(tail: bytes) -> None:
    """jsmpp#214: what an SMSC sends nobody corrects; from a customer's program it is refused, as above."""
    body = _sm(b"hello") + b"\x00\x1e\x00\x02T1" + tail
    for command in (Command.DELIVER_SM, Command.DATA_SM):
        octets = raw(command, body if command == Command.DELIVER_SM else _data(b"\x00\x1e\x00\x02T1" + tail))
        assert decode(octets, lenient=True).tlvs == {Tag.RECEIPTED_MESSAGE_ID: b"T1"}
        with pytest.raises(BadPdu):
            decode(octets)
    assert decode(raw(Command.DELIVER_SM, body), lenient=True).fields["short_message"] == b"hello"


def _data(tlvs: bytes) -> bytes:
    return b"\0" + b"\1\1" + b"14165550000\0" + b"\1\1" + b"14165550123\0" + bytes(3) + tlvs


@pytest.mark.req("P-06")
def test_the_fields_of_an_smsc_may_be_longer_than_allowed() -> None:
    long = _sm(b"hello").replace(b"14165550000", b"1" * 40)
    assert decode(raw(Command.DELIVER_SM, long), lenient=True).fields["source_addr"] == "1" * 40
    for short in (_sm(b"hello", 9), _sm(b"hello", 255)):
        assert decode(raw(Command.DELIVER_SM, short), lenient=True).fields["short_message"] == b"hello"
    for command, body in ((Command.DELIVER_SM, _sm(b"")[:-1]), (Command.DELIVER_SM, b"\0\1\1no end")):
        with pytest.raises(BadPdu):
            decode(raw(command, body), lenient=True)
