#!/usr/bin/env python3
"""Which requirements are shown by passing tests? Prints a table by group; run pytest first.

The ids come from docs/dev/requirements.md and docs/dev/reliability.md, what is shown from
`.pytest_cache/requirements.json`,
which tests/conftest.py writes at the end of a run: an id counts if at least one test that bears it passed, and none
failed. The document's own ids are the first cell of a table row or the bold start of a list item.

    python tools/requirements.py [--missing] [--json] [--group S] [--strict]
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("docs/dev/requirements.md", "docs/dev/reliability.md")
RESULTS = ".pytest_cache/requirements.json"

# Group -> what its ids look like and what it is, in the order of the table.
GROUPS = {
    "S": (r"S-\d{3}", "what the sources describe"),
    "G": (r"G\d{2}", "what no peer has"),
    "C-": (r"C-\d{1,2}", "decisions where the sources leave it open"),
    "D": (r"D\d{1,2}", "decisions the tests assume"),
    "C": (r"C-\d{3}[a-h]?", "conformance"),
    "P": (r"P-\d{2}", "SMPP"),
    "W": (r"W-\d{2}", "webhooks and API"),
    "E": (r"E-\d{2}", "e-mail"),
    "A": (r"A-\d{2}", "attacks"),
    "I": (r"I[1-8]", "invariants"),
    "F": (r"F-\d{2}", "faults"),
    "L": (r"L-\d{2}", "load"),
}
_ANY = "|".join(f"(?:{pattern})" for pattern, _ in GROUPS.values())
_LINE = re.compile(rf"(?:\| *({_ANY}) *\||- \*\*({_ANY})\*\*)")
_INVARIANTS = re.compile(r"\b(I[1-8]) [a-z]")


def group_of(name: str) -> str:
    """Empty if it is no id at all."""
    return next((group for group, (pattern, _) in GROUPS.items() if re.fullmatch(pattern, name)), "")


def defined(texts: Iterable[str]) -> list[str]:
    """The ids that documents define, in their order, each once."""
    found: dict[str, None] = {}
    for text in texts:
        for line in text.splitlines():
            match = _LINE.match(line)
            if match:
                found[match[1] or match[2]] = None
            elif line.startswith("- I1 "):
                found.update(dict.fromkeys(_INVARIANTS.findall(line)))
    return list(found)


def shown(results: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """(id -> tests that passed, id -> tests that failed). Skipped tests show nothing."""
    passed: dict[str, list[str]] = defaultdict(list)
    failed: dict[str, list[str]] = defaultdict(list)
    for test, entry in results.items():
        books = {"passed": passed, "failed": failed}.get(str(entry["outcome"]))
        for name in entry["ids"] if books is not None else ():
            books[name].append(test)
    return passed, failed


def report(ids: Iterable[str], results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the program prints with --json."""
    ids = list(ids)
    passed, failed = shown(results)
    marked = {name for entry in results.values() for name in entry["ids"]}
    groups: dict[str, dict[str, Any]] = {}
    for group, (_, what) in GROUPS.items():
        members = [name for name in ids if group_of(name) == group]
        good = [name for name in members if passed.get(name) and not failed.get(name)]
        bad = [name for name in members if failed.get(name)]
        groups[group] = {
            "what": what,
            "total": len(members),
            "shown": good,
            "failing": bad,
            "missing": [name for name in members if name not in good and name not in bad],
        }
    return {"groups": groups, "unknown": sorted(marked - set(ids)), "tests": len(results)}


def table(found: Mapping[str, Any], *, missing: bool) -> str:
    groups = {name: one for name, one in found["groups"].items() if one["total"]}
    lines = [f"{'':4}{'shown':>6}{'of':>6}{'failing':>9}"]
    for name, one in groups.items():
        counts = f"{len(one['shown']):>6}{one['total']:>6}{len(one['failing']) or '':>9}"
        lines.append(f"{name:<4}{counts}  {one['what']}")
    total = [sum(len(one[key]) for one in groups.values()) for key in ("shown", "failing")]
    lines.append(f"{'':4}{total[0]:>6}{sum(one['total'] for one in groups.values()):>6}{total[1] or '':>9}")
    for name, one in groups.items():
        if one["failing"]:
            lines.append(f"\n{name} failing: {' '.join(one['failing'])}")
        if missing and one["missing"]:
            lines.append(f"\n{name} not shown: {' '.join(one['missing'])}")
    if found["unknown"]:
        lines.append(f"\nin no document: {' '.join(found['unknown'])}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Which requirements are shown by passing tests?")
    parser.add_argument("--missing", action="store_true", help="list the ids that no passing test shows")
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")
    parser.add_argument("--group", choices=list(GROUPS), help="of one group only")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a test bears an id that no document defines")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        results = json.loads((options.root / RESULTS).read_text())
        texts = [(options.root / name).read_text() for name in DOCUMENTS]
    except OSError as error:
        print(f"requirements: {error.filename}: {error.strerror}; run pytest first", file=sys.stderr)
        return 1
    found = report(defined(texts), results)
    if options.group:
        found["groups"] = {options.group: found["groups"][options.group]}
    print(json.dumps(found, indent=1) if options.json else table(found, missing=options.missing))
    return 1 if options.strict and found["unknown"] else 0


if __name__ == "__main__":
    sys.exit(main())
