"""The time until the next attempt."""

from __future__ import annotations

import pytest

from sipsms.messaging.queue.backoff import delay


@pytest.mark.parametrize(
    ("tries", "chance", "seconds"), [(1, 0.5, 5), (3, 0.5, 20), (5, 0.5, 60), (99, 0.5, 60), (9, 0, 54), (9, 1, 66)]
)
def test_the_delay_grows_to_its_limit_and_varies_by_a_fifth(tries: int, chance: float, seconds: float) -> None:
    assert delay(tries, 5, 60, chance) == pytest.approx(seconds)
