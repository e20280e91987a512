"""Servers end with the run; and the requirement ids that it showed go to `.pytest_cache/requirements.json`.

The ids of `@pytest.mark.req(...)` travel with the tests' reports, so it works under pytest-xdist as well.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.tools.guardian import Guardian

_TESTS = Path(__file__).parent
_FIRST = ("tools", "faults", "interop", "e2e", "centre", "attacks", "conformance", "smpp")
_SLOW = {name: place for place, name in enumerate(_FIRST)}
_PROPERTY = "req"
_SEEN: dict[str, dict[str, Any]] = {}
_WORST = {"passed": 0, "skipped": 1, "failed": 2}


def pytest_sessionstart(session: pytest.Session) -> None:
    """Servers that tests start end with the run, also if it is killed."""
    Guardian().watch_all()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The folders whose tests take long go first: what comes last, when one of two processes has no more, is short."""
    items.sort(key=lambda item: _SLOW.get(item.path.relative_to(_TESTS).parts[0], len(_SLOW)))
    for item in items:
        ids = [str(one) for mark in item.iter_markers("req") for one in mark.args]
        if ids:
            item.user_properties.append((_PROPERTY, ",".join(dict.fromkeys(ids))))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A test is as good as the worst of its set-up, call and tear-down."""
    ids = next((str(value) for name, value in report.user_properties if name == _PROPERTY), "")
    if not ids:
        return
    entry = _SEEN.setdefault(report.nodeid, {"ids": ids.split(","), "outcome": "passed"})
    if _WORST[report.outcome] > _WORST[entry["outcome"]]:
        entry["outcome"] = report.outcome


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput") or not _SEEN:
        return
    folder = session.config.rootpath / ".pytest_cache"
    folder.mkdir(exist_ok=True)
    (folder / "requirements.json").write_text(json.dumps(_SEEN, indent=1, sort_keys=True))
