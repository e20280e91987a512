"""Durations and rates as people write them."""

from __future__ import annotations

import pytest

from sipsms.core.quantities import duration, rate


@pytest.mark.parametrize(
    ("text", "seconds"), [("14d", 1_209_600), ("1.5h", 5400), ("5m", 300), ("30s", 30), ("250ms", 0.25), (7, 7), (0, 0)]
)
def test_a_duration_is_seconds(text: object, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5 m", "-1s", "1w", True, -1, 1e11, None, [1]])
def test_other_durations_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="expected a duration like"):
        duration(text)


@pytest.mark.parametrize(("text", "a_second"), [("10/s", 10), ("30/m", 0.5), ("1800/h", 0.5), (0.5, 0.5)])
def test_a_rate_is_messages_a_second(text: object, a_second: float) -> None:
    assert rate(text) == a_second


@pytest.mark.parametrize("text", ["0/s", "10", "10/w", 0, True, None])
def test_other_rates_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="expected a rate like"):
        rate(text)
