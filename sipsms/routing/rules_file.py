"""Files numbering.yaml and routing.yaml, compiled into a `Dialplan`; errors come together, with their lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from sipsms.core.e164 import REGIONS
from sipsms.core.yaml_file import ConfigError, Document, Model
from sipsms.routing.dialplan import Dialplan, Internal, Rule, Test
from sipsms.routing.numbering import HOME, SERVICE_CODES, Mode, Numbering, expand

ALL: Final = ("all",)  # no carrier can have this name, which the settings refuse


def _texts(value: object) -> object:
    """Return a list of texts from one value or several; YAML reads codes like `900` as numbers."""
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
    mode: Mode = "nanpa"
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
    """Return "off" for False: YAML 1.1 reads an unquoted `off` as false."""
    return "off" if value is False else value


class RoutingFile(Model):
    internal: Annotated[Internal, BeforeValidator(_off)] = Internal.STORE
    rules: tuple[RuleEntry, ...] = Field(default_factory=lambda: (RuleEntry(carriers=ALL),))


def load(directory: Path | None, carriers: Sequence[str], weights: Mapping[str, int] | None = None) -> Dialplan:
    """Return the dialplan of a directory (None: the defaults). `weights`: 1 for other carriers. Raises ConfigError."""
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
    """Yield one test for every key of the rule, the test that fails cheapest first."""
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
