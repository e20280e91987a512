"""Submits of bound ESMEs: sent as orders, and answered when stored (S-069, S-070).

A submit that comes again because its response was lost must get the id of the first (see `ResendDetection`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from math import inf
from secrets import token_hex
from typing import Any, Final

from sipsms.accounts.directory import Directory
from sipsms.core import log
from sipsms.core.clock import Clock
from sipsms.core.errors import Unavailable
from sipsms.core.refusal import Refusal, RefusalCode
from sipsms.core.report_request import SmppRequest
from sipsms.messaging.carrier import Part
from sipsms.messaging.order import MAX_LONG, Order
from sipsms.messaging.outbound import Outbound
from sipsms.smpp.concat_refs import ConcatReferences, Full, Name, reference_of
from sipsms.smpp.data_coding import Concat
from sipsms.smpp.esme import Esme
from sipsms.smpp.pdu import Address, Pdu, Status, Tag
from sipsms.smpp.peer_session import Taken, known
from sipsms.smpp.resend_detection import HEARD, Key, Mark, ResendDetection
from sipsms.smpp.settings import SmppSettings
from sipsms.smpp.submit_sm import Refused, Submission, read
from sipsms.store import recent
from sipsms.store.store import Store

ORIGIN: Final = "smpp"
_STATUS: Final = {
    RefusalCode.NO_SOURCE: Status.INVALID_SOURCE,
    RefusalCode.SOURCE: Status.INVALID_SOURCE,
    RefusalCode.NO_DESTINATION: Status.INVALID_DESTINATION,
    RefusalCode.DESTINATION: Status.INVALID_DESTINATION,
    RefusalCode.NO_ROUTE: Status.INVALID_DESTINATION,
    RefusalCode.EMPTY: Status.INVALID_MESSAGE_LENGTH,
    RefusalCode.TOO_LONG: Status.INVALID_MESSAGE_LENGTH,
}  # every other refusal: SUBMIT_FAILED, because a retry cannot succeed


class Bucket:
    """Rate limit of a customer: a token bucket of one second's messages."""

    def __init__(self, now: float) -> None:
        self._left = 1.0
        self._at = now - 1.0

    def take(self, rate: float, now: float, count: int = 1) -> bool:
        """Take `count` messages from the bucket; False if the rate is exceeded."""
        self._left = min(max(rate, 1.0), self._left + (now - self._at) * rate)
        self._at = now
        if self._left < count and not (count > rate and self._left >= rate):
            return False
        self._left -= count
        return True


class SubmitHandler:
    def __init__(
        self, settings: Callable[[], SmppSettings], directory: Directory, outbound: Outbound, store: Store,
        clock: Clock, refuse: Callable[[Esme, Pdu, BaseException], None],
    ) -> None:  # fmt: skip
        """`refuse`: answers a PDU with the status of an error."""
        self._settings = settings
        self._directory = directory
        self._outbound = outbound
        self._store = store
        self._clock = clock
        self._refuse = refuse
        self._loop = asyncio.get_running_loop()
        self._doubts: ResendDetection[Taken] = ResendDetection()
        self._texts = ConcatReferences(partial(token_hex, 6))
        self._buckets: dict[str, Bucket] = {}
        self._mark = Mark()
        self.tasks: set[asyncio.Future[Any]] = set()

    async def start(self) -> None:
        """Load the submits stored just before the server ended, which may come again. Raises Unavailable."""
        now = self._clock()
        left: list[tuple[Key, Taken]] = []
        messages, parts = await self._store.read(lambda db: recent.recall(db, ORIGIN, now))
        for one in messages:
            left.append(((one.account, one.source, one.destination, one.text, None), known(str(one.id))))
        for part in parts:
            reference = reference_of(part.reference)
            name = Name(part.account, part.source, part.destination, reference, part.total)
            concat = (reference, part.total, part.number)
            key = (part.account, part.source, part.destination, part.text, concat)
            left.append((key, known(f"{part.reference}-{part.number}")))
            if not part.joined:
                self._texts.recall(name, part.reference, part.number, part.text, now)
        self._doubts.add(left, now)

    def broken(self, bound: Esme, span: float = HEARD) -> None:
        """Handle a broken or mute session: submits answered within `span` seconds or not at all may come again."""
        now = self._clock()
        if not bound.is_doubted:
            bound.is_doubted = True
            self._doubts.add(bound.unsure(now, span), now, bound)

    def look_at_others(self, bound: Esme, others: Iterable[Esme]) -> None:
        """Treat the user's other sessions as broken if they are mute: its program has opened a new one."""
        now = self._clock()
        for other in others:
            if other is not bound and not other.is_doubted and other.is_mute(now):
                self.broken(other)

    def heard_by(self, now: float, span: float, bounds: Iterable[Esme]) -> float:
        """Return the time before which submits of all ESMEs need no recall after a restart; 0 if unchanged.

        The peers have had their responses for `span` seconds."""
        if len(self._doubts):
            return 0.0
        return self._mark.move(now, span, min((one.oldest(now) for one in bounds), default=inf))

    def sweep(self, now: float) -> None:
        self._texts.sweep(now)
        self._doubts.sweep(now)

    # --- one message ---

    def submit(self, bound: Esme, pdu: Pdu) -> None:
        """Handle one message or one segment; the response follows when it is stored."""
        now = self._clock()
        try:
            self._check_rate(bound, 1, now)
            submission = read(pdu, self._settings().charsets, now)
            self._check_source(bound, submission.source)
        except Refused as refused:
            self._refuse(bound, pdu, refused)
            return
        destination, concat = submission.destinations[0], submission.body.concat
        part = (concat.reference, concat.total, concat.number) if concat is not None and concat.total > 1 else None
        key = (bound.customer, submission.source, destination, submission.body.text, part)
        taken, is_again = bound.take(self._doubts, key, now, lambda: self._take(bound, pdu, submission, destination))
        if is_again:
            log.note("smpp_again", user=bound.username, source=submission.source, destination=destination)
        else:
            self.tasks.add(taken)
            taken.add_done_callback(self.tasks.discard)
        taken.add_done_callback(partial(self._answer, bound, pdu))

    def _answer(self, bound: Esme, pdu: Pdu, taken: Taken) -> None:
        if taken.cancelled():
            bound.failed(taken)
        elif (error := taken.exception()) is not None:
            bound.failed(taken)
            self._refuse(bound, pdu, error)
        else:
            bound.connection.received += 1
            bound.connection.answer(pdu, 0, taken.result())
            self._answered(bound, taken)

    def _answered(self, bound: Esme, taken: Taken) -> None:
        self._mark.took_at = self._clock()
        bound.answered(taken, self._mark.took_at)

    async def _take(self, bound: Esme, pdu: Pdu, submission: Submission, destination: str) -> str:
        """Store a submit and return its id. Raises Refused or Unavailable."""
        concat = submission.body.concat
        if concat is not None and concat.total > 1:
            return await self._take_part(bound, pdu, submission, destination, concat)
        return str(await self._send(bound, submission, destination, _report(pdu, submission)))

    async def _send(
        self,
        bound: Esme,
        submission: Submission,
        destination: str,
        report: SmppRequest | None,
        part: Part | None = None,
    ) -> int:
        account = self._directory.account(bound.customer)
        if account is None or not account.enabled:
            raise Refused(Status.SUBMIT_FAILED, "the account is off")
        order = Order(
            account, submission.source, destination, submission.body.text, ORIGIN, max_text=MAX_LONG, report=report,
            due_at=submission.due_at, expires_at=submission.expires_at, part=part,
        )  # fmt: skip
        sent = await self._outbound.send(order)
        if isinstance(sent, Refusal):
            raise refused(sent)
        return sent.message

    async def _take_part(self, bound: Esme, pdu: Pdu, submission: Submission, destination: str, concat: Concat) -> str:
        if submission.due_at is not None:
            raise Refused(Status.INVALID_SCHEDULE, "a part of a long text cannot be held")
        name = Name(bound.customer, submission.source, destination, concat.reference, concat.total)
        now = self._clock()
        try:
            token = self._texts.place(name, concat.number, submission.body.text, now)
        except Full as full:
            raise Refused(Status.QUEUE_FULL, str(full)) from None
        report = _report(pdu, submission, concat.number, token)
        try:
            await self._send(bound, submission, destination, report, Part(token, concat.number, concat.total))
        except Refused:
            self._texts.refused(name, token, concat.number)
            raise
        except Unavailable:
            self._texts.failed(name, token, concat.number, now)
            raise
        return f"{token}-{concat.number}"

    def _check_rate(self, bound: Esme, count: int, now: float) -> None:
        account = self._directory.account(bound.customer)
        own = account.smpp_rate if account is not None else None
        rate = self._settings().rate if own is None else float(own)
        if rate and not self._buckets.setdefault(bound.customer, Bucket(now)).take(rate, now, count):
            raise Refused(Status.THROTTLED, f"more than {rate:g} messages a second")

    def _check_source(self, bound: Esme, source: str) -> None:
        did = self._directory.did(source)
        if (
            did is None or did.account != bound.customer or not did.sms or did.smpp is None or not did.smpp.enabled
            or did.smpp_username != bound.username or did.smpp.password != bound.password
        ):  # fmt: skip
            raise Refused(Status.INVALID_SOURCE, f"{source} is not a number that this user sends from")

    # --- submit_multi ---

    async def submit_multi(self, bound: Esme, pdu: Pdu) -> None:
        """Send a message to each destination; the response has the first message's id. Raises Refused."""
        now = self._clock()
        asked: tuple[Address, ...] = pdu.fields["dest_address"]
        self._check_rate(bound, len(asked), now)
        submission = read(pdu, self._settings().charsets, now)
        self._check_source(bound, submission.source)
        if submission.body.concat is not None and submission.body.concat.total > 1:
            raise Refused(Status.INVALID_ESM_CLASS, "submit_multi of a part of a long text")
        first, failures = "", []
        for address, destination in zip(asked, submission.destinations, strict=True):
            if address.list_name:
                failures.append(address._replace(address=address.list_name, status=Status.CANNOT_SUBMIT_TO_LIST))
                continue
            try:
                taken = self._one_of_many(bound, pdu, submission, address, destination, first)
                message_id = await asyncio.shield(taken)
            except Refused as refused:
                failures.append(address._replace(status=refused.status))
            except Unavailable:
                failures.append(address._replace(status=Status.QUEUE_FULL))
            else:
                first = first or message_id
        bound.connection.received += len(asked) - len(failures)
        if not first:
            status = failures[0].status if len({one.status for one in failures}) == 1 else Status.SUBMIT_FAILED
            bound.connection.answer(pdu, status)
            return
        bound.connection.answer(pdu, fields={"message_id": first, "unsuccess_sme": tuple(failures)})

    def _one_of_many(
        self, bound: Esme, pdu: Pdu, submission: Submission, address: Address, destination: str, first: str
    ) -> Taken:
        key = (bound.customer, submission.source, destination, submission.body.text, None)
        report = _report(pdu, submission, token=first, to=address)
        taken, _ = bound.take(
            self._doubts, key, self._clock(), lambda: self._one_id(bound, submission, destination, report)
        )
        taken.add_done_callback(partial(self._one_done, bound))
        return taken

    async def _one_id(self, bound: Esme, submission: Submission, destination: str, report: SmppRequest | None) -> str:
        return str(await self._send(bound, submission, destination, report))

    def _one_done(self, bound: Esme, taken: Taken) -> None:
        if taken.cancelled() or taken.exception() is not None:
            bound.failed(taken)
        else:
            self._answered(bound, taken)


def _report(
    pdu: Pdu, submission: Submission, part: int = 0, token: str = "", to: Address | None = None
) -> SmppRequest | None:
    """Return the receipts that the ESME requests; None if none."""
    mask = submission.registered_delivery & 0x1F
    if not mask:
        return None
    fields = pdu.fields
    ton, npi, address = (
        (to.ton, to.npi, to.address) if to is not None
        else (fields["dest_addr_ton"], fields["dest_addr_npi"], fields["destination_addr"])
    )  # fmt: skip
    return SmppRequest.of(
        mask, fields["source_addr"], address, fields["source_addr_ton"], fields["source_addr_npi"], ton, npi, part,
        token, _reference(pdu),
    )  # fmt: skip


def _reference(pdu: Pdu) -> int | None:
    """Return the ESME's user_message_reference (section 5.3.2.17), or None."""
    octets = pdu.tlvs.get(Tag.USER_MESSAGE_REFERENCE, b"")
    return int.from_bytes(octets, "big") if len(octets) == 2 else None


def refused(refusal: Refusal) -> Refused:
    """Return a refusal in SMPP's words."""
    return Refused(_STATUS.get(refusal.in_short, Status.SUBMIT_FAILED), refusal.reason)
