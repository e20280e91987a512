"""Requests of ESMEs about their messages: query_sm, cancel_sm, replace_sm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from sipsms.accounts.directory import Directory
from sipsms.core.clock import Clock
from sipsms.core.errors import AdminError
from sipsms.core.message import Message, State
from sipsms.core.segmentation import Charset, encoding_of, segments
from sipsms.messaging.concatenation import parts_key
from sipsms.messaging.opt_out import SendingPolicy
from sipsms.messaging.order import MAX_LONG
from sipsms.messaging.outbound import text_refusal
from sipsms.smpp import receipt
from sipsms.smpp.esme import Esme
from sipsms.smpp.pdu import Pdu, Status
from sipsms.smpp.settings import SmppSettings
from sipsms.smpp.submit import refused
from sipsms.smpp.submit_sm import Refused, number, read_text, smpp_time
from sipsms.store import replace
from sipsms.store.store import Store

_STATES: Final = {
    State.DELIVERED: "DELIVRD", State.FAILED: "UNDELIV", State.EXPIRED: "EXPIRED", State.UNKNOWN: "UNKNOWN",
}  # fmt: skip
_TIMES: Final = {"schedule_delivery_time": Status.INVALID_SCHEDULE, "validity_period": Status.INVALID_EXPIRY}


class QueryHandler:
    def __init__(
        self,
        settings: Callable[[], SmppSettings],
        directory: Directory,
        consent: SendingPolicy,
        store: Store,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._directory = directory
        self._consent = consent
        self._store = store
        self._clock = clock

    async def query(self, bound: Esme, pdu: Pdu) -> None:
        """Answer query_sm. Raises Refused or Unavailable."""
        message = await self._own(bound, pdu, Status.QUERY_FAILED)
        state = await self._store.outcome(message.id)
        word, final = _STATES.get(state, "ENROUTE"), ""
        if state is State.FAILED and await self._store.is_cancelled(message.id):
            word = "DELETED"
        if state in _STATES and state is not State.UNKNOWN:
            final = smpp_time(await self._store.read(lambda db: replace.settled_at(db, message.id)))
        fields = {
            "message_id": pdu.fields["message_id"], "final_date": final, "message_state": receipt.CODES[word],
            "error_code": 0,
        }  # fmt: skip
        bound.connection.answer(pdu, fields=fields)

    async def cancel(self, bound: Esme, pdu: Pdu) -> None:
        """Answer cancel_sm. Raises Refused or Unavailable."""
        message = await self._own(bound, pdu, Status.CANCEL_FAILED)
        try:
            cancelled = await self._store.write(lambda db: replace.cancel_whole(db, message.id, self._clock()))
        except AdminError:
            cancelled = False
        if not cancelled:
            raise Refused(Status.CANCEL_FAILED, "it has left")
        bound.connection.answer(pdu)

    async def replace(self, bound: Esme, pdu: Pdu) -> None:
        """Replace the text, not the times, of a held message, checked like a submit. Raises Refused or Unavailable."""
        message = await self._own(bound, pdu, Status.REPLACE_FAILED)
        for name, status in _TIMES.items():
            if pdu.fields[name]:
                raise Refused(status, f"{name} cannot be changed")
        charsets = self._settings().charsets
        coding = _coding(pdu.fields["short_message"], message.text, charsets)
        as_submit = Pdu(pdu.command, pdu.sequence, 0, {**pdu.fields, "esm_class": 0, "data_coding": coding}, pdu.tlvs)
        text = read_text(as_submit, charsets)
        self._check(message, text)
        if segments(text) > 1:
            raise Refused(Status.REPLACE_FAILED, "longer than one segment")
        if not await self._store.write(lambda db: replace.replace_text(db, message.id, text, self._clock())):
            raise Refused(Status.REPLACE_FAILED, "it is not held, or it is not whole")
        bound.connection.answer(pdu)

    def _check(self, message: Message, text: str) -> None:
        """Check a text as for a submit_sm. Raises Refused."""
        account = self._directory.account(message.account)
        if account is None or not account.enabled:
            raise Refused(Status.SUBMIT_FAILED, "the account is off")
        refusal = text_refusal(text, MAX_LONG) or self._consent.objection(
            account, message.source, message.destination, text
        )
        if refusal is not None:
            raise refused(refusal)

    async def _own(self, bound: Esme, pdu: Pdu, status: Status) -> Message:
        """Return the customer's message with this id and source. Raises Refused or Unavailable."""
        message_id = await self._numbered(pdu.fields["message_id"])
        found = await self._store.message(message_id) if message_id else None
        source = number(pdu.fields["source_addr_ton"], pdu.fields["source_addr"])
        if found is None or found.source not in {did.number for did in bound.dids(self._directory)}:
            raise Refused(status, "no such message of this user")
        account = self._directory.account(found.account)
        if (account is None or account.customer != bound.customer) or (source and source != found.source):
            raise Refused(status, "no such message of this user")
        return found

    async def error_of(self, message_id: str) -> str:
        """Return the carrier's error code of a failed message, as in receipts. Raises Unavailable."""
        number = await self._numbered(message_id)
        if not number:
            return receipt.error_code(())
        return receipt.error_code(await self._store.read(lambda db: replace.errors(db, number)))

    async def _numbered(self, message_id: str) -> int:
        """Return the message of an id that an ESME was given; 0 if there is none."""
        if message_id.isascii() and message_id.isdigit() and len(message_id) < 19:
            return int(message_id)
        token, _, _ = message_id.rpartition("-")
        return await self._store.find_duplicate(parts_key(token)) or 0


def _coding(octets: bytes, held: str, charsets: Mapping[int, Charset]) -> int:
    """Return the data_coding of a replace_sm's text, for which the PDU has no field.

    The default, or UCS-2 if the octets can be that and the held text was probably not sent in the default. Latin-1
    letters may have been sent in Latin-1, so there only NUL octets indicate UCS-2."""
    if encoding_of(held) == "gsm7" or len(octets) % 2 or (max(held) <= "\xff" and b"\0" not in octets):
        return 0
    try:
        octets.decode("utf-16-be")
    except UnicodeDecodeError:
        return 0
    return next((coding for coding, charset in charsets.items() if charset == "ucs2"), 0)
