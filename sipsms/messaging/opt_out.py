"""Opt-out: STOP and START, block lists, and whether an account may send a text at all (S-016, S-018, S-131).

A number that writes STOP to a DID gets nothing from it any more until it writes START. A user who answers STOP to a
number gets nothing from it any more. Both hold per DID and number; operators and customers add their own blocks.
"""

from __future__ import annotations

from collections.abc import Iterable

from sipsms.accounts.directory import Directory
from sipsms.core import log
from sipsms.core.account import Account, Did
from sipsms.core.clock import Clock
from sipsms.core.directory_rows import Block
from sipsms.core.message import Delivery, Message
from sipsms.core.refusal import Refusal, RefusalCode
from sipsms.messaging.content_policy import Patterns, shortener_in
from sipsms.messaging.opt_out_keywords import Keyword, classify
from sipsms.messaging.settings import PolicySettings
from sipsms.store.store import Store

_REMEMBERED = 10_000  # numbers that were told something by themselves
_ONCE_IN = 3600.0  # seconds between two answers to HELP


class SendingPolicy:
    def __init__(self, store: Store, directory: Directory, clock: Clock, settings: PolicySettings) -> None:
        self._store = store
        self._directory = directory
        self._clock = clock
        self.apply(settings)
        self._told: dict[tuple[str, str], float] = {}

    def apply(self, settings: PolicySettings) -> None:
        """Apply new settings; the counts of bulk patterns start anew."""
        self._settings = settings
        self._patterns = Patterns(settings.same_text, settings.destinations, settings.window)

    # --- out ---

    def bulk(self, account: Account, destination: str, text: str) -> Refusal | None:
        """Count a message; return a refusal if the account sends similar texts to too many numbers."""
        customer = self._directory.account(account.customer) or account
        if account.bulk or customer.bulk:
            return None
        why = self._patterns.check(account.customer, destination, text, self._clock())
        return Refusal(RefusalCode.BULK, f"bulk sending is off for {account.customer}: {why}") if why else None

    def objection(self, account: Account, did: str, destination: str, text: str) -> Refusal | None:
        """Return why a message must not go out, whatever else the account has sent; None: it may."""
        owner = self._directory.did(did)
        if owner is not None and self._directory.is_blocked(owner, destination, "out"):
            return Refusal(
                RefusalCode.BLOCKED, f"{destination} wants no messages from {did}: it answered STOP or is blocked"
            )
        customer = self._directory.account(account.customer) or account
        if not (account.shorteners or customer.shorteners) and (found := shortener_in(text, self._settings.shorteners)):
            return Refusal(
                RefusalCode.POLICY, f"links of {found} are not sent: mobile carriers drop them; use the full one"
            )
        return None

    def objection_to(self, delivery: Delivery) -> str:
        """Return why an accepted SMS must not leave any more (it may have waited for days); empty: it may."""
        message = delivery.message
        did, sender = self._directory.did(message.did), self._directory.account(message.account)
        if did is None:
            return f"{message.did} is no number of this server any more" if message.did else ""
        if message.origin == "auto":
            return ""  # what answers a STOP still goes
        if sender is None or not sender.enabled:
            return "its account is off or removed"
        if sender.customer != did.account:
            return f"{did.number} is another customer's now"
        if not did.sms:
            return f"{did.number} is switched off for SMS"
        if self._directory.is_blocked(did, delivery.destination, "out"):
            return "the recipient has answered STOP meanwhile, or is blocked"
        return ""

    async def opted_out(self, delivery: Delivery) -> None:
        """Block a recipient who, as the carrier knows, wants nothing of this sender. Raises Unavailable."""
        if did := delivery.message.did:
            await self.set_block(Block(did, delivery.destination, "out"), "the carrier says that they opted out")

    async def said(self, did: str, destination: str, text: str) -> None:
        """Our user wrote to a number: STOP ends what comes from it, START lets it in again."""
        keyword = classify(text)
        if keyword in (Keyword.STOP, Keyword.START):
            await self.set_block(Block(did, destination, "in", keyword is Keyword.STOP), f"the user answered {keyword}")

    # --- in ---

    def concerns(self, message: Message) -> bool:
        """Is an incoming message one of the words?"""
        return self._settings.keywords and not message.media and classify(message.text) is not None

    async def heard(self, message: Message, did: Did) -> str:
        """A number wrote STOP, START or HELP to a DID: it does what it says. What is to be answered, or nothing."""
        keyword = classify(message.text)
        settings = self._settings
        if keyword in (Keyword.STOP, Keyword.START):
            stopped = keyword is Keyword.STOP
            block = Block(did.number, message.source, "out", stopped)
            new = await self.set_block(block, "they answered STOP" if stopped else "they answered START")
            return (settings.stop_reply if stopped else settings.start_reply) if new else ""
        return settings.help_reply if keyword is Keyword.HELP and self._first(did.number, message.source) else ""

    def is_kept(self, did: Did, source: str) -> str:
        """Return why an incoming message is stored and not delivered."""
        return f"{source} is blocked" if self._directory.is_blocked(did, source, "in") else ""

    async def set_block(self, block: Block, reason: str) -> bool:
        """Durable when it returns. False: it was so already."""
        changed = await self._store.set_block(block, reason, self._clock())
        if changed or block.active:
            self._directory.block(block)
        if changed:
            log.note("block_set" if block.active else "block_lifted", **block._asdict(), why=reason)
        return changed

    def _first(self, did: str, number: str) -> bool:
        """Two robots must not ask each other for help for ever."""
        now, key = self._clock(), (did, number)
        if now - self._told.get(key, -_ONCE_IN) < _ONCE_IN:
            return False
        if len(self._told) >= _REMEMBERED:
            self._told = dict(_newest(self._told.items()))
        self._told[key] = now
        return True


def _newest(items: Iterable[tuple[tuple[str, str], float]]) -> list[tuple[tuple[str, str], float]]:
    return sorted(items, key=lambda item: item[1])[_REMEMBERED // 2 :]
