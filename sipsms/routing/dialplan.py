"""The dialplan: chooses a message's routes from its facts, each route with its reason. Pure.

The dialplan must not read the store: `Facts` and the DID hold all it needs. Rules and the lines of their trace are
compiled when they are loaded (`rules_file`), so that a message costs a few comparisons and no formatting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from math import log
from typing import NamedTuple

from sipsms.core.account import Did
from sipsms.core.courier_id import CALLBACK, FORWARD, MAIL, SIP, SMPP, WEBHOOK, CourierId
from sipsms.core.message import Direction, Route
from sipsms.core.refusal import Refusal, RefusalCode
from sipsms.routing.numbering import Numbering, shown


class Internal(StrEnum):
    """Handling of a message from one account to another."""

    STORE = "store"  # accepted, and delivered to every phone of the account, also to a phone that is away
    RELAY = "relay"  # passed on to the registered phones, with their own answer
    OFF = "off"


class Facts(NamedTuple):
    """Facts about a message that the dialplan may use."""

    direction: Direction
    account: str
    did: str
    source: str
    destination: str
    kind: str = "sms"  # sms or mms
    kept: str = ""  # incoming: reason to store it without delivery; empty: deliver
    forwards: bool = False  # incoming: the sender is one of our numbers that forwards by itself


class Decision(NamedTuple):
    """Routes, or a refusal, with a trace of the rules."""

    routes: tuple[Route, ...] = ()
    trace: tuple[str, ...] = ()  # one line for every rule that was examined
    refusal: Refusal | None = None
    kept: bool = False  # incoming: stored and kept from every destination


Test = tuple[Callable[[Facts], bool], str]  # (condition, trace line if it fails)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of routing.yaml, compiled."""

    name: str  # "routing.yaml:12 (canada)"
    tests: tuple[Test, ...]
    carriers: tuple[str, ...]
    weights: tuple[int, ...] = ()  # weights for sharing the load; empty: later carriers are only substitutes

    @property
    def matched(self) -> str:
        how = ", by weight" if self.weights else ""
        return f"{self.name}: matches, carriers {', '.join(self.carriers) or '(none)'}{how}"

    def ordered(self, facts: Facts) -> tuple[str, ...]:
        """Return the carriers in the order in which they must be tried.

        With weights, it is the same for all messages of two numbers (weighted rendezvous hashing)."""
        if not self.weights:
            return self.carriers
        pair = f"{facts.source} {facts.destination} "
        score = {name: _share(pair + name) / weight for name, weight in zip(self.carriers, self.weights, strict=True)}
        return tuple(sorted(self.carriers, key=score.__getitem__))

    def misses(self, facts: Facts) -> str:
        """Return why the rule does not match; empty if it matches."""
        for test, miss in self.tests:
            if not test(facts):
                return miss
        return ""


class Dialplan:
    def __init__(self, numbering: Numbering, rules: Sequence[Rule], internal: Internal = Internal.STORE) -> None:
        self.numbering = numbering
        self.internal = internal
        self._rules = tuple((rule, rule.matched) for rule in rules)

    def outgoing(self, facts: Facts) -> Decision:
        """Return the carriers to try, in order: those of the first rule that matches."""
        if refusal := self.numbering.policy(facts.destination):
            return Decision(trace=(f"numbering: {refusal.reason}",), refusal=refusal)
        trace = ["numbering: ok"]
        for rule, matched in self._rules:
            if miss := rule.misses(facts):
                trace.append(miss)
                continue
            trace.append(matched)
            return _by_carriers(rule, matched, facts, tuple(trace))
        return _no_route(trace, "no rule of the dialplan matches")

    def incoming(self, facts: Facts, did: Did | None) -> Decision:
        """Return routes to all destinations of the DID; without one a message is stored, not refused."""
        if did is None:
            return _no_route([], f"{shown(facts.destination)} is not one of our numbers")
        if why := _kept(facts, did):
            return Decision(trace=(f"DID {did.number}: {why}, kept and not delivered",), kept=True)
        routes = tuple(_destinations(facts, did))
        trace = [route.why for route in routes]
        if did.forward and (why := _no_forward(facts, did)):
            trace.append(f"DID {did.number}: not forwarded: {why}")
        if not routes:
            trace.append(f"DID {did.number}: no destination, kept and not delivered")
        return Decision(routes, tuple(trace))


def _share(key: str) -> float:
    """Return a number from 0 up that depends only on the key.

    Of several, each divided by a weight, each is the smallest with a chance in proportion to its weight."""
    drawn = (int.from_bytes(blake2b(key.encode("utf-8", "replace"), digest_size=7).digest(), "big") + 1) / 2**56
    return -log(drawn)


def _kept(facts: Facts, did: Did) -> str:
    if facts.kept:
        return facts.kept
    if not did.sms:
        return "SMS is off"
    return "MMS is off" if facts.kind == "mms" and not did.mms else ""


def _destinations(facts: Facts, did: Did) -> Iterator[Route]:
    at = f"DID {did.number}"
    for account in dict.fromkeys(name for name in (did.sip_account, *did.members) if name):
        what = "SIP account" if account == did.sip_account else f"member of group {did.group}, SIP account"
        yield Route(SIP, account, facts.source, f"{at}: to {what} {account}")
    for address in did.emails:
        yield Route(MAIL, address, facts.source, f"{at}: e-mail to {address}")
    if did.callback is not None and not did.callback.disabled:
        yield Route(CALLBACK, did.number, facts.source, f"{at}: URL callback")
    if did.webhook is not None and not did.webhook.disabled:
        yield Route(WEBHOOK, did.number, facts.source, f"{at}: webhook")
    if did.smpp is not None and did.smpp.delivers:
        whose = "the customer's server" if did.smpp.url else f"whoever is bound as {did.smpp_username}"
        yield Route(SMPP, did.number, facts.source, f"{at}: SMPP, to {whose}")
    if did.forward and not _no_forward(facts, did):
        yield Route(FORWARD, did.forward, did.number, f"{at}: forward to {did.forward}")


def _no_forward(facts: Facts, did: Did) -> str:
    """Return why forwarding a message would loop for ever (S-034, A-45); empty if it would not."""
    if facts.source == did.forward:
        return "it comes from the number it would go to"
    if did.forward == did.number:
        return "it would go to itself"
    return "its sender forwards by itself" if facts.forwards else ""


def _by_carriers(rule: Rule, matched: str, facts: Facts, trace: tuple[str, ...]) -> Decision:
    if not rule.carriers:
        return _no_route(list(trace), "no carrier is configured")
    names = rule.ordered(facts)
    routes = tuple(Route(CourierId.of_carrier(name), facts.destination, facts.source, matched) for name in names)
    return Decision(routes, trace)


def _no_route(trace: list[str], reason: str) -> Decision:
    return Decision(trace=(*trace, reason), refusal=Refusal(RefusalCode.NO_ROUTE, reason))
