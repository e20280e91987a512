"""The dependency audit is green only if every package was looked at."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.tools.audit import Audit

GOOD = {"name": "uvloop", "version": "0.22", "vulns": []}
BAD = {"name": "h11", "version": "0.14", "vulns": [{"id": "CVE-2025-43859"}, {"id": "GHSA-1"}]}
SKIPPED = {"name": "websockets", "skip_reason": "Dependency not found on PyPI and could not be audited"}
OWN = {"name": "sipsms", "skip_reason": "distribution marked as editable"}


def read(*found: dict[str, Any], errors: str = "") -> Audit:
    return Audit.read(json.dumps({"dependencies": found}), errors, "sipsms")


def test_vulnerabilities_and_skipped_packages_are_told_apart() -> None:
    audit = read(GOOD, BAD, SKIPPED, OWN)
    assert audit.audited == ["uvloop", "h11"]
    assert audit.vulnerable == ["h11 0.14: CVE-2025-43859, GHSA-1"]
    assert audit.skipped == ["websockets: Dependency not found on PyPI and could not be audited"]
    assert not audit.why


def test_nothing_audited_is_not_green() -> None:
    assert read(SKIPPED, OWN).why == "websockets: Dependency not found on PyPI and could not be audited"
    assert read(OWN).why == "no report"
    assert read(errors="Traceback\nConnectionError: no route").why == "ConnectionError: no route"
    assert not read(GOOD, OWN).why


@pytest.mark.parametrize("output", ["", "No known vulnerabilities found", "[]", "{}", "null"])
def test_a_report_that_cannot_be_read_is_no_audit(output: str) -> None:
    assert Audit.read(output, "pip-audit: error", "sipsms").why == "pip-audit: error"
