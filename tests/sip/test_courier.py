"""Courier to a phone; conformance/test_outgoing tests the requests over real sockets."""

from __future__ import annotations

from sipsms.sip.courier import first_cseq


def test_cseq_rises_past_2038_and_stays_below_2_to_the_31() -> None:
    starts = [first_cseq(now) for now in (1_790_000_000.0, 2**31 - 1, 2**31, 2**31 + 60, 2**31 + 30 * 365 * 86400)]
    assert starts == sorted(set(starts))
    assert starts[0] > 0
    assert starts[-1] < 2**31


def test_cseq_is_valid_before_a_clock_is_set() -> None:
    assert first_cseq(0.0) == 0
