"""What ESMEs ask of messages they have sent: query_sm, cancel_sm, replace_sm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Final

from sipsms.accounts.directory import Directory
from sipsms.core.message import Message, State
from sipsms.core.segmentation import encoding_of, segments
from sipsms.messaging.gateway import Gateway
from sipsms.smpp import receipt
from sipsms.smpp.data_coding import Charset
from sipsms.smpp.esme import Bound, Looked, Options, Records
from sipsms.smpp.pdu import Pdu, Status
from sipsms.smpp.submit_sm import Refused, number, read_text, smpp_time

_STATES: Final = {
    State.DELIVERED: "DELIVRD", State.FAILED: "UNDELIV", State.EXPIRED: "EXPIRED", State.UNKNOWN: "UNKNOWN",
}  # fmt: skip
_TIMES: Final = {"schedule_delivery_time": Status.INVALID_SCHEDULE, "validity_period": Status.INVALID_EXPIRY}


class Enquiries:
    def __init__(
        self, options: Callable[[], Options], directory: Directory, gateway: Gateway, records: Records
    ) -> None:
        self._options = options
        self._directory = directory
        self._gateway = gateway
        self._records = records

    async def query(self, bound: Bound, pdu: Pdu) -> None:
        found = await self._own(bound, pdu, Status.QUERY_FAILED)
        word = _STATES.get(found.state, "ENROUTE")
        if found.state is State.FAILED and await self._gateway.is_cancelled(found.message.id):
            word = "DELETED"
        final = smpp_time(found.updated_at) if found.state in _STATES and found.state is not State.UNKNOWN else ""
        fields = {
            "message_id": pdu.fields["message_id"], "final_date": final, "message_state": receipt.CODES[word],
            "error_code": 0,
        }  # fmt: skip
        bound.connection.answer(pdu, fields=fields)

    async def cancel(self, bound: Bound, pdu: Pdu) -> None:
        found = await self._own(bound, pdu, Status.CANCEL_FAILED)
        if not await self._records.cancel(found.message.id):
            raise Refused(Status.CANCEL_FAILED, "it has left")
        bound.connection.answer(pdu)

    async def replace(self, bound: Bound, pdu: Pdu) -> None:
        """Of a message that is held: its text, if that could be submitted. Its times stay as they are."""
        found = await self._own(bound, pdu, Status.REPLACE_FAILED)
        for name, status in _TIMES.items():
            if pdu.fields[name]:
                raise Refused(status, f"{name} cannot be changed")
        charsets = self._options().charsets
        coding = _coding(pdu.fields["short_message"], found.message.text, charsets)
        as_submit = Pdu(pdu.command, pdu.sequence, 0, {**pdu.fields, "esm_class": 0, "data_coding": coding}, pdu.tlvs)
        text = read_text(as_submit, charsets)
        if segments(text) > 1:
            raise Refused(Status.REPLACE_FAILED, "longer than one segment")
        self._check(found.message, text)
        if not await self._records.replace_text(found.message.id, text):
            raise Refused(Status.REPLACE_FAILED, "it is not held, or it is not whole")
        bound.connection.answer(pdu)

    def _check(self, message: Message, text: str) -> None:
        """What a submit_sm of this text would be refused for. Raises Refused."""
        account = self._directory.account(message.account)
        if account is None or not account.enabled:
            raise Refused(Status.SUBMIT_FAILED, "the account is off")
        refusal = self._gateway.consent.objection(account, message.source, message.destination, text)
        if refusal is not None:
            raise Refused(Status.SUBMIT_FAILED, refusal.reason)

    async def _own(self, bound: Bound, pdu: Pdu, status: Status) -> Looked:
        """The message that this customer names, sent from the number that it names. Raises Refused."""
        message_id = await self._numbered(pdu.fields["message_id"])
        found = await self._records.look(message_id) if message_id else None
        source = number(pdu.fields["source_addr_ton"], pdu.fields["source_addr"])
        if found is None or found.message.source not in {did.number for did in bound.dids(self._directory)}:
            raise Refused(status, "no such message of this user")
        account = self._directory.account(found.message.account)
        if (account is None or account.customer != bound.customer) or (source and source != found.message.source):
            raise Refused(status, "no such message of this user")
        return found

    async def error_of(self, message_id: str) -> str:
        """The carrier's code for why it failed, as receipts have it. Raises Unavailable."""
        number = await self._numbered(message_id)
        return receipt.error_code(await self._records.errors(number) if number else ())

    async def _numbered(self, message_id: str) -> int:
        """The message with the id that an ESME was told; 0: none."""
        if message_id.isascii() and message_id.isdigit() and len(message_id) < 19:
            return int(message_id)
        token, _, _ = message_id.rpartition("-")
        known = await self._gateway.known(blake2b(b"smpp parts\n" + token.encode(), digest_size=20).digest())
        return known.message_id if known is not None else 0


def _coding(octets: bytes, held: str, charsets: Mapping[int, Charset]) -> int:
    """The data_coding of a replace_sm's text, for which its PDU has no field: the default, or that of UCS-2 where these
    octets can be that and the text that is held was hardly sent in the default. Where its letters are those of Latin-1,
    it may have been sent as that, too: then UCS-2 is told by the NULs between its letters."""
    if encoding_of(held) == "gsm7" or len(octets) % 2 or (max(held) <= "\xff" and b"\0" not in octets):
        return 0
    try:
        octets.decode("utf-16-be")
    except UnicodeDecodeError:
        return 0
    return next((coding for coding, charset in charsets.items() if charset == "ucs2"), 0)
