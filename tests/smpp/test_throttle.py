"""P-09, F-15: how fast a carrier is sent to, by what it throttles. In a clock of the test's own."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from sipsms.smpp.throttle import Pace

BUSY = 1000.0  # messages a second that want to go


def play(pace: Pace, takes: Callable[[float], bool], until: float, start: float = 0.0) -> list[tuple[float, bool]]:
    """(when, taken or throttled) of each message that went; there is always one more."""
    went, now = [], start
    while now < until:
        if paused := pace.paused(now):
            now += paused
            continue
        now += 1 / (pace.rate_at(now) or BUSY)
        taken = takes(now)
        if taken:
            pace.taken(now)
        else:
            pace.throttled(now)
        went.append((now, taken))
    return went


def limited(most: int) -> Callable[[float], bool]:
    """An SMSC that takes so many in a second."""
    seen: dict[int, int] = {}

    def takes(now: float) -> bool:
        seen[int(now)] = seen.get(int(now), 0) + 1
        return seen[int(now)] <= most

    return takes


def share(went: list[tuple[float, bool]], since: float, until: float) -> float:
    """Of the throttled ones."""
    here = [taken for at, taken in went if since <= at < until]
    return here.count(False) / len(here)


def test_without_throttling_there_is_no_limit() -> None:
    assert Pace().rate_at(5.0) == 0.0
    assert len(play(Pace(), lambda now: True, 2.0)) == pytest.approx(2 * BUSY, rel=0.01)


@pytest.mark.req("F-15", "P-09")
@pytest.mark.parametrize("most", [5, 40, 200])
def test_the_throttled_share_falls_within_ten_seconds(most: int) -> None:
    """And most of what the SMSC takes is used."""
    went = play(Pace(), limited(most), 60.0)
    assert share(went, 10.0, 60.0) < 0.15  # each step up may be one too many: at five a second that is one of nine
    assert sum(taken for at, taken in went if at >= 10.0) > 0.5 * 50 * most


@pytest.mark.req("F-15", "P-09")
@pytest.mark.parametrize("seed", range(5))
def test_an_smsc_that_throttles_half_of_all_submits_is_asked_rarely(seed: int) -> None:
    """Whatever the pace: within ten seconds it is asked a few times a second, no more, and never given up."""
    dice = random.Random(seed)
    went = play(Pace(), lambda now: dice.random() < 0.5, 3600.0)
    assert len([at for at, _ in went if 10.0 <= at < 20.0]) <= 30
    assert [at for at, taken in went if at > 3000.0 and taken]


@pytest.mark.req("P-09")
def test_after_a_minute_without_throttling_the_limit_ends() -> None:
    pace, takes = Pace(), limited(40)
    last = next(at for at, taken in reversed(play(pace, takes, 20.0)) if not taken)
    assert pace.rate
    after = play(pace, lambda now: True, last + 65.0, start=20.0)
    assert pace.rate == 0.0
    assert all(taken for _, taken in after)


@pytest.mark.req("P-09")
def test_the_pause_doubles_up_to_its_maximum() -> None:
    pace, now, pauses = Pace(), 100.0, []
    for _ in range(9):
        pauses.append(pace.throttled(now))
        assert pace.throttled(now + 0.1) == pytest.approx(pauses[-1] - 0.1), "several at once are one word"
        now += pauses[-1]
    assert pauses == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60, 60])
    pace.taken(now)
    assert pace.throttled(now + 0.5) == 1.0


@pytest.mark.req("P-09")
def test_the_rate_after_throttling_is_the_rate_that_was_accepted() -> None:
    pace = Pace()
    for step in range(400):
        pace.taken(100.0 + step / 100)  # a hundred a second
    pace.throttled(104.0)
    assert 40 < pace.rate_at(104.0) < 100
    before = pace.rate
    assert pace.rate_at(110.0) > before, "the longer it says nothing, the more goes"
