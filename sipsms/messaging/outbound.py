"""The one way to send: SIP, SMPP, every HTTP API and the command line give an `Order` to `Outbound.send`.

The checks of sender, destination, text, files, consent and daily limit are here, once. Listeners differ in words only:
each has a table from the code of a `Refusal` to its own status. docs/duplicates.md says which protection against
duplicates each listener has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from sipsms.accounts.directory import Directory
from sipsms.accounts.quota import Usage
from sipsms.core import log
from sipsms.core.account import Account
from sipsms.core.charset import BOM
from sipsms.core.clock import Clock
from sipsms.core.courier_id import SMPP
from sipsms.core.e164 import normalise
from sipsms.core.errors import Unavailable
from sipsms.core.media_types import MAX_FILES, MAX_TEXT
from sipsms.core.message import HTTP_APIS, Direction, Media, Message
from sipsms.core.queue_rows import StoredPart
from sipsms.core.refusal import Refusal, RefusalCode
from sipsms.core.report_request import of_parts
from sipsms.core.segmentation import LengthUnit, length, unix_newlines
from sipsms.messaging.attachments import Attachments
from sipsms.messaging.concatenation import Concatenation, parts_key
from sipsms.messaging.delivery_reports import Stage
from sipsms.messaging.gateway import Gateway, Receipt
from sipsms.messaging.opt_out import SendingPolicy
from sipsms.messaging.order import Order, Sent
from sipsms.messaging.reporter import Reporter
from sipsms.messaging.retry_guard import Look, RetryGuard
from sipsms.messaging.router import Router
from sipsms.routing.numbering import shown
from sipsms.store.store import Store


class Outbound:
    def __init__(
        self, store: Store, directory: Directory, router: Router, gateway: Gateway, reporter: Reporter,
        policy: SendingPolicy, parts: Concatenation[Receipt | Refusal | None], clock: Clock, usage: Usage,
        attachments: Attachments, daily: Callable[[], int], look: Look,
    ) -> None:  # fmt: skip
        """`daily`: sends a day of who has no limit of its own, 0: any number. `look`: as for `RetryGuard`."""
        self._store = store
        self._directory = directory
        self._router = router
        self._gateway = gateway
        self._reporter = reporter
        self._policy = policy
        self._parts = parts
        self._clock = clock
        self.usage = usage
        self.attachments = attachments
        self._daily = daily
        self._retries = RetryGuard(store, directory, clock, self._take, attachments.fetched, look)
        self.answered = self._retries.answered

    async def send(self, order: Order) -> Sent | Refusal:
        """Send a message. It is durable when this returns `Sent`; nothing is stored if it is refused.

        Raises Unavailable: nothing was stored. A caller that gives up while a request of an HTTP API is being stored
        changes nothing: the message then goes its way.
        """
        if order.account.reply_from_thread and not (order.to_account or order.source.strip()):
            order = await self._in_thread(order)
        checked = self._checked(order)
        if isinstance(checked, Refusal):
            return checked
        if order.origin in HTTP_APIS:
            return await asyncio.shield(asyncio.ensure_future(self._retries.once(checked)))
        return await self._take(checked, order.dedupe_key)

    async def caller_id(self, account: Account, destination: str) -> tuple[str, str]:
        """Return the caller ID that an account sends from if it states none, and why. Raises Unavailable."""
        found = await self._in_thread(Order(account, "", destination, "", "cli")) if account.reply_from_thread else None
        if found is not None and found.source:
            return found.source, f"the number that {shown(destination)} last wrote to"
        return account.caller_id, f"the caller ID of {account.name}"

    async def _in_thread(self, order: Order) -> Order:
        """Return the order with the DID that its destination last wrote to as source, if that may send.

        Raises Unavailable.
        """
        order, number = order._replace(from_thread=True), self._destination(order.destination)
        if isinstance(number, Refusal):
            return order
        did = await self._store.last_did(order.account.name, number)
        return order._replace(source=did) if self._directory.may_send_from(order.account, did) else order

    # --- checks ---

    def _checked(self, order: Order) -> Order | Refusal:
        """Return the order with sender, number and text in stored form, or why it is refused."""
        source, destination = order.source, order.destination
        if not order.to_account:
            found = self._source(order)
            if isinstance(found, Refusal):
                return found
            source = found
            number = self._destination(destination)
            if isinstance(number, Refusal):
                return number
            destination = number
        text = unix_newlines(order.text).removeprefix(BOM)
        if len(order.files) > MAX_FILES:
            return Refusal(RefusalCode.MEDIA_COUNT, f"{len(order.files)} files, an MMS has at most {MAX_FILES}")
        if order.files:
            refusal = text_refusal(text, MAX_TEXT, may_be_empty=True)
        else:
            refusal = text_refusal(text, order.max_text, order.unit, may_be_empty=order.part is not None)
        if refusal is not None or (source, destination, text) == (order.source, order.destination, order.text):
            return refusal or order
        return order._replace(source=source, destination=destination, text=text)

    def _source(self, order: Order) -> str | Refusal:
        given = order.source.strip() or order.account.caller_id
        if not given and order.origin in HTTP_APIS:  # a phone must say which, a program means the only one
            enabled = [did for did in self._directory.dids_of(order.account.customer) if did.sms]
            given = enabled[0].number if len(enabled) == 1 else ""
        if not given:
            return Refusal(
                RefusalCode.NO_SOURCE, "no caller ID: name a number of the account, or set the account's caller ID"
            )
        number = normalise(given)
        if number is None or not self._directory.may_send_from(order.account, number):
            return not_yours(given)
        return number

    def _destination(self, given: str) -> str | Refusal:
        if not given.strip():
            return Refusal(RefusalCode.NO_DESTINATION, "no destination")
        numbering, number = self._router.dialplan.numbering, normalise(given)
        return numbering.check(given) if number is None else numbering.policy(number) or number

    def _objection(self, order: Order) -> Refusal | None:
        """Before anything is fetched, saved or counted for it."""
        if order.files and (did := self._directory.did(order.source)) is not None and not did.mms:
            return Refusal(RefusalCode.NO_MMS, f"{order.source} is not enabled for MMS")
        return self._policy.objection(order.account, order.source, order.destination, order.text)

    async def _over_limit(self, order: Order) -> Refusal | None:
        customer = self._directory.account(order.account.customer) or order.account
        limit = self._daily() if customer.api_daily_limit is None else customer.api_daily_limit
        if not limit or await self.usage.sent(customer.name) < limit:
            return None
        return Refusal(RefusalCode.LIMIT, f"{customer.name} has sent {limit} messages by the APIs today, its limit")

    # --- what is done ---

    async def _take(self, order: Order, key: bytes | None) -> Sent | Refusal:
        """Store a checked order under a duplicate key, and let it go. Raises Unavailable."""
        if order.to_account:
            return await self._submit(order, key, ())
        if (refusal := self._objection(order)) is not None:
            return refusal
        if order.part is not None:
            return await self._take_part(order)
        if not (order.files or order.counted):
            return await self._submit(order, key, ())
        day = ""
        if order.counted:
            if (refusal := await self._over_limit(order)) is not None:
                return refusal
            day = self.usage.add(order.account.customer)
        media: list[Media] = []
        try:
            sent = await self.attachments.save(order.files, order.account.customer, media) or await self._submit(
                order, key, media
            )
        except Unavailable:
            await self._undo(order, day, media)
            raise
        if isinstance(sent, Refusal) or sent.duplicate:
            await self._undo(order, day, media)
        return sent

    async def _undo(self, order: Order, day: str, media: Sequence[Media]) -> None:
        """Take back what was counted and saved for a message that is not stored."""
        if day:
            self.usage.add(order.account.customer, -1, day)
        await self.attachments.discard(media)

    async def _submit(self, order: Order, key: bytes | None, media: Sequence[Media]) -> Sent | Refusal:
        account, source, destination = order.account, order.source, order.to_account or order.destination
        did = "" if order.to_account else source
        if (
            did
            and order.origin != SMPP
            and (refusal := self._policy.bulk(account, destination, order.text)) is not None
        ):
            return refusal  # ESMEs may send similar texts to many (C-6)
        message = Message(
            Direction.OUT, source, destination, order.text, order.origin, self._clock(), account.name, did,
            order.expires_at, key, report=order.report, device=order.device if order.report else 0, media=tuple(media),
        )  # fmt: skip
        copies_of = order.device if did and account.copies else 0
        result = await self._gateway.submit(message, order.instance, order.due_at, copies_of)
        if isinstance(result, Refusal):
            return result
        if did:
            try:
                await self._policy.said(source, destination, order.text)
            except Unavailable as error:  # the message is committed: its answer must not say otherwise
                log.warning("store_unavailable", why=str(error), lost="a STOP of our user")
        return Sent(result.message_id, source, destination, result.duplicate)

    # --- long texts in parts ---

    async def _take_part(self, order: Order) -> Sent | Refusal:
        """Take one part of a long text; the text leaves when all parts are here.

        No other text of any account has the part's reference, nor had it in the last 10 minutes. A text whose other
        parts do not come goes out with the gap marked.
        """
        part = order.part
        assert part is not None
        source = "" if order.from_thread else order.source  # the peer may write to another DID before the last part
        stored = StoredPart(
            order.origin, source, order.destination, part.reference[:64], part.number, part.total, order.text, "",
            self._clock(), account=order.account.name, expires_at=order.expires_at, report=order.report,
        )  # fmt: skip
        result = await self._parts.add(stored)
        if isinstance(result, Refusal):
            return result
        return Sent(result.message_id if result is not None else 0, order.source, order.destination)

    async def whole(self, parts: Sequence[StoredPart], text: str) -> Receipt | Refusal:
        """Send a long text, as far as its parts have come.

        They were answered as accepted: if the whole is refused, the sender is told as of a message that failed.
        """
        first = parts[0]
        account, key = self._directory.account(first.account), parts_key(first.reference)
        source = first.source
        if account is not None and not source:
            source, _ = await self.caller_id(account, first.destination)
        if account is None or not account.enabled or not self._directory.may_send_from(account, source):
            return Refusal(RefusalCode.POLICY, f"{source} is not a number of an account that may send")
        expires_at = min((one.expires_at for one in parts if one.expires_at is not None), default=None)
        report = of_parts(one.report for one in parts)
        order = Order(account, source, first.destination, text, first.origin, report=report, expires_at=expires_at)
        sent = await self._take(order, key)
        if isinstance(sent, Sent):
            return Receipt(sent.message, sent.duplicate)
        log.warning("parts_refused", account=account.name, source=source, why=sent.reason)
        lost = Message(
            Direction.OUT, source, first.destination, text, first.origin, first.received_at, account.name,
            source, dedupe_key=key, report=report,
        )  # fmt: skip
        await self._reporter.report(lost, Stage.REJECTED)
        return sent


def not_yours(number: str) -> Refusal:
    """Return the refusal of a sender that is not the account's: the same whether it is another's or nobody's."""
    return Refusal(RefusalCode.SOURCE, f"caller ID {shown(number)} is not an SMS-enabled number of this account")


def text_refusal(
    text: str, most: int, unit: LengthUnit = "characters", *, may_be_empty: bool = False
) -> Refusal | None:
    """Return why a text is refused: empty, longer than `most`, or no text; None if it is not."""
    if not may_be_empty and not text.strip():
        return Refusal(RefusalCode.EMPTY, "the text is empty")
    if (count := length(text, unit)) > most:
        return Refusal(RefusalCode.TOO_LONG, f"the text has {count} {unit}, at most {most}")
    if "\0" in text or not _is_text(text):
        return Refusal(RefusalCode.TEXT, "the text has a character that cannot be sent (NUL, half a surrogate pair)")
    return None


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
