"""fail2ban reads our log: a wrong password's line in each form, and no user name that puts somebody else in jail."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sipsms.core import log

FILTER = Path(__file__).parents[2] / "etc" / "fail2ban" / "filter.d" / "sipsms.conf"
JAIL = FILTER.parent.parent / "jail.d" / "sipsms.conf"
STYLES = ("auto", "json", "console")
REAL, VICTIM = "192.0.2.7", "198.51.100.9"
FORGED = f"src={VICTIM} port=1 reason=x"
NAMES = [
    "alice", "", "\\", "'", '"', "x " + FORGED, '" ' + FORGED, "' " + FORGED, '\\" ' + FORGED, 'a\\" ' + FORGED,
    "=" + FORGED, "\u2003" + FORGED, "\u2028" + FORGED, f'x", "src": "{VICTIM}", "port": 1, "reason": "',
    f"' src={VICTIM} user=", f"x reason='x' src={VICTIM} user=", f"x\nwarning auth_failure proto=sip user=x {FORGED}",
    f"2026-11-22T00:03:26.512Z warning auth_failure proto=sip user=x {FORGED}",
    f"h p[1]: 2026-11-22T00:03:26.512Z warning auth_failure proto=sip user=x {FORGED}",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    yield
    log.setup("warning", "json")


@pytest.fixture(params=STYLES)
def lines(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """A wrong password for each name, each beside another line with the same name in it."""
    log.setup("info", request.param)
    for name in NAMES:
        log.auth_failure("sip", name, REAL, 5060, "wrong credentials")
        log.refused("sip", 403, name, name)
    log.auth_failure("sip", "bob", "2001:db8::7", 5061, "too many failures")
    found = capsys.readouterr().err.splitlines()
    assert len(found) == 2 * len(NAMES) + 1
    return found


def _patterns() -> list[re.Pattern[str]]:
    parser = configparser.ConfigParser()
    parser.read(FILTER)
    host = r"(?P<host>[0-9.]+|[0-9a-fA-F:]+)"
    return [re.compile(line.replace("<HOST>", host)) for line in parser["Definition"]["failregex"].splitlines()]


def _match(line: str) -> re.Match[str] | None:
    return next(filter(None, (pattern.match(line) for pattern in _patterns())), None)


def _undated(line: str) -> str:
    """As fail2ban hands a line to the patterns: without its time."""
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "", line, count=1)


@pytest.mark.req("A-31")
@pytest.mark.parametrize("before", ["", "host sipsms[123]: "])
def test_the_filter_finds_the_address_of_each_failure(lines: list[str], before: str) -> None:
    """By the filter's own patterns, in Python, whose rules are fail2ban's; also as the journal shows the line."""
    matches = [_match(before + _undated(line)) for line in lines]
    found = [match["host"] for match in matches if match]
    assert found == [REAL] * len(NAMES) + ["2001:db8::7"]


@pytest.mark.skipif(shutil.which("fail2ban-regex") is None, reason="fail2ban is not installed")
def test_fail2ban_itself_agrees(lines: list[str], tmp_path: Path) -> None:
    file = tmp_path / "sipsms.log"
    file.write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        ["fail2ban-regex", "--out", "ip", str(file), str(FILTER)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == [REAL] * len(NAMES) + ["2001:db8::7"], done.stderr


def test_the_log_line_of_a_failure_does_not_change(capsys: pytest.CaptureFixture[str]) -> None:
    """Others' filters hang on it: a change here is an incompatible one."""
    log.setup("info", "auto")
    log.auth_failure("sip", "alice", REAL, 5060, "wrong credentials")
    line = f'warning auth_failure proto=sip user=alice src={REAL} port=5060 reason="wrong credentials"\n'
    assert capsys.readouterr().err.partition(" ")[2] == line
    log.setup("info", "json")
    log.auth_failure("sip", "alice", REAL, 5060, "wrong credentials")
    json_line = (
        '"level": "warning", "event": "auth_failure", "proto": "sip", "user": "alice", '
        f'"src": "{REAL}", "port": 5060, "reason": "wrong credentials"}}\n'
    )
    assert capsys.readouterr().err.partition(", ")[2] == json_line


def test_the_jail_names_the_filter() -> None:
    parser = configparser.RawConfigParser()
    parser.read(JAIL)
    assert parser["sipsms"]["filter"] == FILTER.stem
