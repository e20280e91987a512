"""Times that an ESME names."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sipsms.smpp.pdu import Status
from sipsms.smpp.submit_sm import FARTHEST, Refused, moment, span

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC).timestamp()
DAY = 86400.0


def schedule(text: str) -> float | None:
    at = moment({"schedule_delivery_time": text}, "schedule_delivery_time", NOW, Status.INVALID_SCHEDULE)
    return None if at is None else at - NOW


def validity(text: str) -> float | None:
    at = moment({"validity_period": text}, "validity_period", NOW, Status.INVALID_EXPIRY)
    return None if at is None else at - NOW


@pytest.mark.req("S-064")
def test_absolute_and_relative_times_are_read() -> None:
    for read in (schedule, validity):
        assert read("") is None
        assert read("000001000000000R") == DAY
        assert read("261122130000000+") == 3600.0
        assert read("261122130000004+") == 0.0, "an hour east of us"
        assert read("261122070000024-") == 3600.0, "six hours west"
        assert read("261121120000000+") == -DAY


@pytest.mark.req("S-064")
@pytest.mark.parametrize("late", ["271124120000000+", "960101000000000+", "010002000000000R", "990000000000000R"])
def test_a_message_is_not_held_for_more_than_a_year(late: str) -> None:
    with pytest.raises(Refused) as refused:
        schedule(late)
    assert refused.value.status == Status.INVALID_SCHEDULE
    assert validity(late) == FARTHEST == 366 * DAY
    assert schedule("271123120000000+") == 366 * DAY


def test_a_relative_time_is_limited() -> None:
    assert span(1e12).startswith("99")
    assert len(span(1e12)) == 16
