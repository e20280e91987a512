"""Who may be written to, and by which way: rules -> routes, each answer with its reasons.

`Numbering` is the strict door of SIP (rule D8): it repairs nothing and says in a sentence what to do instead.
`Dialplan` then turns the facts of a message into routes. It sees no store: what it needs is in `Facts` and the DID.
Rules are compiled when they are loaded, their trace lines too, so that a message costs a few comparisons and no
formatting. Everything is pure but `load`, which reads numbering.yaml and routing.yaml through sipsms.config.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from math import log
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field

from sipsms.core.account import Did
from sipsms.core.e164 import REGIONS
from sipsms.core.message import Direction, Route
from sipsms.core.refusal import Refusal, RefusalCode
from sipsms.core.yaml_file import ConfigError, Document, Model
from sipsms.routing.numbering import HOME, SERVICE_CODES, Numbering, _shown, expand

# --- numbering -------------------------------------------------------------------------------------------------------

ALL: Final = ("all",)  # no carrier can be called so: sipsms.config sees to it


class Internal(StrEnum):
    """What becomes of a message from one account to another."""

    STORE = "store"  # taken, and delivered to every phone of the account, also to one that is away
    RELAY = "relay"  # passed on to the phones that are there, with their own answer
    OFF = "off"


# --- routing ---------------------------------------------------------------------------------------------------------


class Facts(NamedTuple):
    """What the dialplan may know of a message."""

    direction: Direction
    account: str
    did: str
    source: str
    destination: str
    kind: str = "sms"  # or mms
    kept: str = ""  # incoming: why it is not to be delivered anywhere
    forwards: bool = False  # incoming: the sender is a number of ours that forwards by itself


class Decision(NamedTuple):
    routes: tuple[Route, ...] = ()
    trace: tuple[str, ...] = ()  # a line for every rule that was looked at
    refusal: Refusal | None = None


Test = tuple[Callable[[Facts], bool], str]  # and what to say when it fails


@dataclass(frozen=True, slots=True)
class Rule:
    name: str  # "routing.yaml:12 (canada)"
    tests: tuple[Test, ...]
    carriers: tuple[str, ...]
    weights: tuple[int, ...] = ()  # of the carriers, where they share the work instead of standing in for each other

    @property
    def matched(self) -> str:
        how = ", by weight" if self.weights else ""
        return f"{self.name}: matches, carriers {', '.join(self.carriers) or '(none)'}{how}"

    def ordered(self, facts: Facts) -> tuple[str, ...]:
        """The carriers in the order in which they are to be tried. By weight: the same order for every message of a
        pair of numbers, so that a conversation stays with one (weighted rendezvous hashing)."""
        if not self.weights:
            return self.carriers
        pair = f"{facts.source} {facts.destination} "
        score = {name: _share(pair + name) / weight for name, weight in zip(self.carriers, self.weights, strict=True)}
        return tuple(sorted(self.carriers, key=score.__getitem__))

    def misses(self, facts: Facts) -> str:
        """Why it does not match; empty when it does."""
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
        """The carriers to try, in order: those of the first rule that matches."""
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
        """To all that the DID delivers to. What it does not deliver it keeps: that is no refusal, the carrier did its
        part."""
        if did is None:
            return _no_route([], f"{_shown(facts.destination)} is not one of our numbers")
        if why := _kept(facts, did):
            return Decision(trace=(f"DID {did.number}: {why}, kept and not delivered",))
        routes = tuple(_destinations(facts, did))
        trace = [route.why for route in routes]
        if did.forward and (why := _no_forward(facts, did)):
            trace.append(f"DID {did.number}: not forwarded: {why}")
        if not routes:
            trace.append(f"DID {did.number}: no destination, kept and not delivered")
        return Decision(routes, tuple(trace))


def _share(key: str) -> float:
    """A number from 0 up that depends on the key alone, distributed so that the least of several, each divided by a
    weight, is any of them with a chance in proportion to the weights."""
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
        yield Route("sip", account, facts.source, f"{at}: to {what} {account}")
    for address in did.emails:
        yield Route("mail", address, facts.source, f"{at}: e-mail to {address}")
    if did.callback is not None and not did.callback.disabled:
        yield Route("callback", did.number, facts.source, f"{at}: URL callback")
    if did.webhook is not None and not did.webhook.disabled:
        yield Route("webhook", did.number, facts.source, f"{at}: webhook")
    if did.smpp is not None and did.smpp.delivers:
        whose = "the customer's server" if did.smpp.url else f"whoever is bound as {did.smpp_username}"
        yield Route("smpp", did.number, facts.source, f"{at}: SMPP, to {whose}")
    if did.forward and not _no_forward(facts, did):
        yield Route("forward", did.forward, did.number, f"{at}: forward to {did.forward}")


def _no_forward(facts: Facts, did: Did) -> str:
    """Why a message is not passed on: it would come back for ever (S-034, A-45)."""
    if facts.source == did.forward:
        return "it comes from the number it would go to"
    if did.forward == did.number:
        return "it would go to itself"
    return "its sender forwards by itself" if facts.forwards else ""


def _by_carriers(rule: Rule, matched: str, facts: Facts, trace: tuple[str, ...]) -> Decision:
    if not rule.carriers:
        return _no_route(list(trace), "no carrier is configured")
    names = rule.ordered(facts)
    routes = tuple(Route(f"carrier:{name}", facts.destination, facts.source, matched) for name in names)
    return Decision(routes, trace)


def _no_route(trace: list[str], reason: str) -> Decision:
    return Decision(trace=(*trace, reason), refusal=Refusal(RefusalCode.NO_ROUTE, reason))


# --- the files -------------------------------------------------------------------------------------------------------


def _texts(value: object) -> object:
    """Numbers in YAML need no quotes here: `900` is a number to YAML and a text to us. One value needs no list."""
    values = value if isinstance(value, list | tuple) else [value]
    return [str(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in values]


def _matching(pattern: str, what: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"expected {what}, got {value!r}")
        return value

    return AfterValidator(check)


def _known_region(value: str) -> str:
    if value not in REGIONS:
        raise ValueError(f"expected one of {' '.join(REGIONS)}, got {value!r}")
    return value


def _chosen(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("expected `all` or a list of carriers")
    return value


Texts = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_texts)]
Codes = Annotated[
    tuple[Annotated[str, _matching("[0-9NX]{3}", "three digits (N: 2-9, X: 0-9)")], ...], BeforeValidator(_texts)
]
Prefix = Annotated[str, _matching("[2-9][0-9]{0,9}", "up to 10 digits without a leading 1")]
Prefixes = Annotated[tuple[Prefix, ...], BeforeValidator(_texts)]


class NumberingFile(Model):
    mode: Literal["nanpa", "e164"] = "nanpa"
    service_codes: Codes = SERVICE_CODES
    premium_area_codes: Codes = ("900",)
    premium_exchanges: Codes = ("976",)
    allow_regions: tuple[Annotated[str, AfterValidator(_known_region)], ...] = ()


class Match(Model):
    direction: Literal["out"] = "out"
    account: Texts | None = None
    did: Prefixes | None = None
    destination: Prefixes | None = None
    kind: Texts | None = None


class RuleEntry(Model):
    name: str = ""
    match: Match = Match()
    carriers: Annotated[Texts, AfterValidator(_chosen)]
    balance: bool = False


def _off(value: object) -> object:
    """`off` without quotes is false to YAML 1.1."""
    return "off" if value is False else value


class RoutingFile(Model):
    internal: Annotated[Internal, BeforeValidator(_off)] = Internal.STORE
    rules: tuple[RuleEntry, ...] = Field(default_factory=lambda: (RuleEntry(carriers=ALL),))


def load(directory: Path | None, carriers: Sequence[str], weights: Mapping[str, int] | None = None) -> Dialplan:
    """The dialplan of a directory; what is not there is as shipped. `weights` of carriers, 1 where none is given.

    Raises ConfigError with all that is wrong.
    """
    numbering, routing = _document(directory, "numbering.yaml"), _document(directory, "routing.yaml")
    file = numbering.validate(NumberingFile) if numbering else NumberingFile()
    rules = routing.validate(RoutingFile) if routing else RoutingFile()
    if routing and (errors := list(_unknown_carriers(routing, rules, carriers))):
        raise ConfigError(errors)
    compiled = [_rule(i, entry, carriers, weights or {}, routing) for i, entry in enumerate(rules.rules)]
    return Dialplan(_numbering(file), compiled, rules.internal)


def _document(directory: Path | None, name: str) -> Document | None:
    path = directory / name if directory is not None else None
    return Document.read(path) if path is not None and path.exists() else None


def _numbering(file: NumberingFile) -> Numbering:
    return Numbering(
        mode=file.mode,
        service=_codes(file.service_codes),
        premium_areas=_codes(file.premium_area_codes),
        premium_exchanges=_codes(file.premium_exchanges),
        regions=HOME | set(file.allow_regions),
    )


def _codes(patterns: Sequence[str]) -> frozenset[str]:
    return frozenset(code for pattern in patterns for code in expand(pattern))


def _unknown_carriers(document: Document, file: RoutingFile, known: Sequence[str]) -> Iterator[str]:
    for i, entry in enumerate(file.rules):
        for j, name in enumerate(() if entry.carriers == ALL else entry.carriers):
            if name not in known:
                where = ("rules", i, "carriers", j)
                yield document.error(where, f"no carrier {name!r}; configured are {', '.join(known) or 'none'}")


def _rule(
    index: int, entry: RuleEntry, carriers: Sequence[str], weights: Mapping[str, int], document: Document | None
) -> Rule:
    at = f"{document.path.name}:{document.line(('rules', index))}" if document else "built-in rule"
    name = f"{at} ({entry.name})" if entry.name else at
    chosen = tuple(carriers) if entry.carriers == ALL else tuple(dict.fromkeys(entry.carriers))
    shares = tuple(weights.get(one, 1) for one in chosen) if entry.balance else ()
    return Rule(name, tuple(_tests(name, entry.match)), chosen, shares)


def _tests(name: str, match: Match) -> Iterator[Test]:
    """One test for every key that the rule has, in the order in which they are cheapest to miss."""
    if match.account is not None:
        accounts = frozenset(match.account)
        yield lambda facts: facts.account in accounts, f"{name}: no, account is not {_either(match.account)}"
    if match.did is not None:
        dids = match.did
        yield lambda facts: facts.did.startswith(dids), f"{name}: no, DID does not start with {_either(dids)}"
    if match.destination is not None:
        prefixes = match.destination
        miss = f"{name}: no, destination does not start with {_either(prefixes)}"
        yield lambda facts: facts.destination.startswith(prefixes), miss
    if match.kind is not None:
        kinds = frozenset(match.kind)
        yield lambda facts: facts.kind in kinds, f"{name}: no, kind is not {_either(match.kind)}"


def _either(values: Sequence[str]) -> str:
    return " or ".join(values[:8]) + (" or ..." if len(values) > 8 else "")
