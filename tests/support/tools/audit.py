"""Findings of pip-audit: the vulnerabilities, and the packages that it has not looked at."""

from __future__ import annotations

import json
from dataclasses import dataclass, field


@dataclass
class Audit:
    audited: list[str] = field(default_factory=list)
    vulnerable: list[str] = field(default_factory=list)  # "name version: ids"
    skipped: list[str] = field(default_factory=list)  # "name: reason"
    why: str = ""  # nothing was audited, and why

    @classmethod
    def read(cls, output: str, errors: str, own: str) -> Audit:
        """Read the JSON of `pip-audit --format json`. `own`: the project itself, which no database knows."""
        audit = cls()
        try:
            found = json.loads(output)["dependencies"]
        except (ValueError, KeyError, TypeError):
            found = []
        for one in found:
            if one["name"] == own:
                continue
            if "skip_reason" in one:
                audit.skipped.append(f"{one['name']}: {one['skip_reason']}")
                continue
            audit.audited.append(one["name"])
            if one["vulns"]:
                ids = ", ".join(vulnerability["id"] for vulnerability in one["vulns"])
                audit.vulnerable.append(f"{one['name']} {one['version']}: {ids}")
        if not audit.audited:
            last = (errors.strip().splitlines() or ["no report"])[-1]
            audit.why = audit.skipped[0] if audit.skipped else last
        return audit
