"""States, times and amounts in words."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from sipsms.core.message import State
from sipsms.core.user import Role
from sipsms.web.centre import words

NOW = datetime(2026, 11, 28, 14, 3, tzinfo=ZoneInfo("America/Toronto")).timestamp()


def test_every_state_and_role_has_words() -> None:
    assert {str(state) for state in State} <= words.STATES.keys()
    assert set(Role) == words.ROLES.keys()
    assert words.STATES["unknown"].words == "May have arrived"
    assert words.STATES["accepted"].words == "Sent"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "1 second"), (0.2, "1 second"), (1.1, "2 seconds"), (59, "59 seconds"), (60, "1 minute"), (61, "2 minutes"),
     (900, "15 minutes"), (3600, "1 hour"), (3601, "2 hours")],
)  # fmt: skip
def test_times_to_wait_are_rounded_up(seconds: float, said: str) -> None:
    assert words.duration(seconds) == said


@pytest.mark.parametrize(("ago", "said"), [(0, "14:03"), (86400, "27 Nov, 14:03"), (365 * 86400, "28 Nov 2025, 14:03")])
def test_moments_are_as_short_as_they_are_clear(ago: float, said: str) -> None:
    assert words.moment(NOW - ago, "America/Toronto", NOW) == said


def test_moments_are_those_of_the_zone() -> None:
    assert words.moment(NOW, "", NOW) == "19:03"
    assert words.moment(NOW, "Asia/Tokyo", NOW) == "04:03"
    assert words.iso(NOW) == "2026-11-28T19:03:00+00:00"


def test_amounts_counts_and_numbers() -> None:
    assert words.money(1204.5) == "$1,204.50"
    assert words.money(-0.0075, digits=4) == "-$0.0075"
    assert (words.count(1, "person", "people"), words.count(1204, "number")) == ("1 person", "1,204 numbers")
    assert words.number("+12125550123") == words.number("2125550123") == "212 555 0123"
    assert (words.number("12345"), words.number("Acme")) == ("12345", "Acme")


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Version/17.0 Safari/604.1", "Safari on iPhone"),
        ("curl/8.0", "curl/8.0"),
        ("", "An unknown browser"),
    ],
)
def test_browsers_have_names(agent: str, said: str) -> None:
    assert words.browser(agent) == said


def test_refusals_say_how_many_tries_and_how_long() -> None:
    said = [
        words.sign_in_refused(0, 3, paused=False, what="No."), words.sign_in_refused(0, 1, paused=False, what="No."),
        words.sign_in_refused(60, 0, paused=False, what="No."), words.sign_in_refused(59, 0, paused=True, what="No."),
    ]  # fmt: skip
    assert said == [
        "No. 3 more tries, then a pause of one minute.", "No. 1 more try, then a pause of one minute.",
        "No. Wait 1 minute before the next try.", "There were too many wrong tries. Wait 59 seconds, then try again.",
    ]  # fmt: skip


def test_initials_and_actions() -> None:
    assert [words.initials(name) for name in ("ana", "ana.okafor", "-")] == ["A", "AO", "?"]
    assert (words.action("user_added"), words.action("some_thing")) == ("added a person", "some thing")
