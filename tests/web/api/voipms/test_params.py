"""The values of VoIP.ms-compatible requests: any value becomes a safe text, and times are New York's."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sipsms.web.api.voipms.params import MAX_VALUE, Params, Refused, days_of, shift_of, wall
from tests.support.http.voipms_api import NOON

pytestmark = pytest.mark.req("S-103")


@pytest.mark.req("A-31")
@pytest.mark.parametrize(
    ("values", "text"),
    [
        (["a"], "a"),
        (["", None, " b "], "b"),
        ([5], "5"),
        ([True], "1"),
        ([False], "0"),
        ([1.5], "1.5"),
        ([{}, ["x"]], ""),
        ([b"\xffc"], "\ufffdc"),
        (["a\0b"], "a\ufffdb"),
        (["a\ud800b"], "a?b"),
        (["x" * 9000], "x" * MAX_VALUE),
    ],
)
def test_any_value_becomes_a_text(values: list[Any], text: str) -> None:
    found = Params({"a": values}).text("a")
    assert found == text
    found.encode()


def test_the_first_name_with_a_value_is_read() -> None:
    params = Params({"a": [""], "b": ["2"]})
    assert (params.text("a", "b"), params.text("c")) == ("2", "")
    assert (params.given("a"), params.given("c"), params.given("c", "b")) == (True, False, True)
    assert [Params({"a": values}).given("a") for values in ([None], [None, ""], [0], [])] == [False, True, True, False]
    assert Params({"a": [b"\x00raw"]}).raw("a") == b"\x00raw"


def test_a_stored_value_is_refused_and_not_cut_when_too_long() -> None:
    assert Params({"a": ["x" * MAX_VALUE]}).whole("word", "a") == "x" * MAX_VALUE
    assert Params({}).whole("word", "a") == ""
    for longer in ("x" * (MAX_VALUE + 1), "x" + " " * MAX_VALUE + "y", b"x" * (MAX_VALUE + 1)):
        with pytest.raises(Refused, match="word"):
            Params({"a": [longer]}).whole("word", "a")
    with pytest.raises(Refused, match="word"):
        Params({"a": ["2125550123" + " " * MAX_VALUE + "4"]}).number("word", "a")


def test_flags_and_numbers_are_read_in_their_usual_forms() -> None:
    said = {"1": True, "TRUE": True, "yes": True, "0": False, "no": False, "": None}
    for text, flag in said.items():
        assert Params({"a": [text]}).flag("word", "a") is flag
    with pytest.raises(Refused, match="word"):
        Params({"a": ["2"]}).flag("word", "a")
    assert Params({"a": ["+1 (212) 555-0123"]}).number("word", "a") == "2125550123"
    assert Params({}).number("word", "a") == ""
    with pytest.raises(Refused, match="word"):
        Params({"a": ["?"]}).number("word", "a")


def test_times_are_read_in_the_given_time_zone() -> None:
    assert wall(NOON) == "2026-10-02 13:00:00"
    assert wall(NOON, timedelta(hours=-1)) == "2026-10-02 12:00:00"
    shifts = {"": 0, "-5": 0, "0": 5, "-4.5": 0.5, "+1": 6, "13": 18}
    for text, hours in shifts.items():
        assert shift_of(Params({"timezone": [text]})) == timedelta(hours=hours)
    for wrong in ("x", "99", "-13", "1e1", "--5", "5 "):
        if wrong.strip() == wrong:
            with pytest.raises(Refused, match="invalid_timezone"):
                shift_of(Params({"timezone": [wrong]}))


def test_days_are_read_as_ranges() -> None:
    days = days_of(Params({"from": ["2026-9-1"], "to": ["2026-10-02 23:59:59"]}), NOON)
    assert (days.first, days.last) == ("2026-09-01", "2026-10-02")
    assert [days.has(shown) for shown in ("2026-08-31 23:59:59", "2026-09-01 00:00:00", "2026-10-03 00:00:00")] == [
        False, True, False,
    ]  # fmt: skip
    ahead = days_of(Params({"from": ["2027-01-01"]}), NOON)
    assert (ahead.first, ahead.last) == ("2027-01-01", "2027-01-01"), "there is nothing yet"
    since, until = days.bounds()
    assert (wall(since), wall(until)) == ("2026-08-31 22:00:00", "2026-10-03 02:00:00")
