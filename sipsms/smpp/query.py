"""Requests of ESMEs about their messages: query_sm, cancel_sm, replace_sm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from sipsms.accounts.directory import Directory
from sipsms.core.message import Message, State
from sipsms.core.segmentation import encoding_of, segments
from sipsms.messaging.concatenation import parts_key
from sipsms.messaging.gateway import Gateway
from sipsms.messaging.order import MAX_LONG
from sipsms.messaging.outbound import text_refusal
from sipsms.smpp import receipt
from sipsms.smpp.data_coding import Charset
from sipsms.smpp.esme import Esme, Looked, Options, Records
from sipsms.smpp.pdu import Pdu, Status
from sipsms.smpp.submit import refused
from sipsms.smpp.submit_sm import Refused, number, read_text, smpp_time

_STATES: Final = {
    State.DELIVERED: "DELIVRD", State.FAILED: "UNDELIV", State.EXPIRED: "EXPIRED", State.UNKNOWN: "UNKNOWN",
}  # fmt: skip
_TIMES: Final = {"schedule_delivery_time": Status.INVALID_SCHEDULE, "validity_period": Status.INVALID_EXPIRY}


class QueryHandler:
    def __init__(
        self, options: Callable[[], Options], directory: Directory, gateway: Gateway, records: Records
    ) -> None:
        self._options = options
        self._directory = directory
        self._gateway = gateway
        self._records = records

    async def query(self, bound: Esme, pdu: Pdu) -> None:
        """Answer query_sm. Raises Refused or Unavailable."""
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

    async def cancel(self, bound: Esme, pdu: Pdu) -> None:
        """Answer cancel_sm. Raises Refused or Unavailable."""
        found = await self._own(bound, pdu, Status.CANCEL_FAILED)
        if not await self._records.cancel(found.message.id):
            raise Refused(Status.CANCEL_FAILED, "it has left")
        bound.connection.answer(pdu)

    async def replace(self, bound: Esme, pdu: Pdu) -> None:
        """Replace the text of a held message, checked like a submit; its times cannot be changed.

        Raises Refused or Unavailable.
        """
        found = await self._own(bound, pdu, Status.REPLACE_FAILED)
        for name, status in _TIMES.items():
            if pdu.fields[name]:
                raise Refused(status, f"{name} cannot be changed")
        charsets = self._options().charsets
        coding = _coding(pdu.fields["short_message"], found.message.text, charsets)
        as_submit = Pdu(pdu.command, pdu.sequence, 0, {**pdu.fields, "esm_class": 0, "data_coding": coding}, pdu.tlvs)
        text = read_text(as_submit, charsets)
        self._check(found.message, text)
        if segments(text) > 1:
            raise Refused(Status.REPLACE_FAILED, "longer than one segment")
        if not await self._records.replace_text(found.message.id, text):
            raise Refused(Status.REPLACE_FAILED, "it is not held, or it is not whole")
        bound.connection.answer(pdu)

    def _check(self, message: Message, text: str) -> None:
        """Check a text as for a submit_sm. Raises Refused."""
        account = self._directory.account(message.account)
        if account is None or not account.enabled:
            raise Refused(Status.SUBMIT_FAILED, "the account is off")
        refusal = text_refusal(text, MAX_LONG) or self._gateway.consent.objection(
            account, message.source, message.destination, text
        )
        if refusal is not None:
            raise refused(refusal)

    async def _own(self, bound: Esme, pdu: Pdu, status: Status) -> Looked:
        """Return the customer's message with this id and source. Raises Refused or Unavailable."""
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
        """Return the carrier's error code of a failed message, as in receipts. Raises Unavailable."""
        number = await self._numbered(message_id)
        return receipt.error_code(await self._records.errors(number) if number else ())

    async def _numbered(self, message_id: str) -> int:
        """Return the message of an id that an ESME was given; 0 if there is none."""
        if message_id.isascii() and message_id.isdigit() and len(message_id) < 19:
            return int(message_id)
        token, _, _ = message_id.rpartition("-")
        known = await self._gateway.known(parts_key(token))
        return known.message_id if known is not None else 0


def _coding(octets: bytes, held: str, charsets: Mapping[int, Charset]) -> int:
    """Return the data_coding of a replace_sm's text; the PDU has no field for it.

    The result is the default, or UCS-2 if the octets can be UCS-2 and the held text was probably not sent in the
    default coding. A held text of Latin-1 letters may have been sent in Latin-1, so there only NUL octets indicate
    UCS-2.
    """
    if encoding_of(held) == "gsm7" or len(octets) % 2 or (max(held) <= "\xff" and b"\0" not in octets):
        return 0
    try:
        octets.decode("utf-16-be")
    except UnicodeDecodeError:
        return 0
    return next((coding for coding, charset in charsets.items() if charset == "ucs2"), 0)
