"""Tables of the command line: what is clipped on a narrow terminal, and what never is."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from sipsms.cli.base import message_cells, table

ROW = {
    "id": 123456, "created_at": "2026-11-22T08:00:01.123+00:00", "direction": "in", "from": "+442079460000",
    "to": "5550001111", "state": "delivered", "delivered_count": 1, "delivery_count": 3, "carrier": "voipms-main",
    "text": "Shall we meet at noon? " * 5,
}  # fmt: skip
MESSAGES = "id created_at way from to state text~"


@pytest.mark.parametrize("width", [20, 60, 80, 100, 120])
def test_numbers_and_times_are_never_cut(width: int) -> None:
    head, line = table([message_cells(ROW)], MESSAGES, width)
    for whole in ("123456", "2026-11-22 08:00:01", "+442079460000", "5550001111", "delivered (1 of 3)"):
        assert whole in line
    assert "…" in line
    assert head.split()[0] == "id"


@pytest.mark.parametrize("text", ["a long text without an end " * 3, "你好" * 40, "👋🏽 " * 40])
def test_lines_fit_on_eighty_columns(text: str) -> None:
    usual = {**ROW, "id": 1234, "from": "2125550123", "delivered_count": 3, "text": text}
    lines = table([message_cells(usual)], MESSAGES, 80)
    assert max(map(cell_len, lines)) <= 80
    assert lines[1].endswith("…")


def test_nothing_is_clipped_for_a_program() -> None:
    assert ROW["text"].strip() in table([message_cells(ROW)], MESSAGES, 0)[1]


def test_a_short_table_is_as_wide_as_its_texts() -> None:
    rows = [{"name": "a", "url": "x" * 9}, {"name": "bcd", "url": ""}]
    assert table(rows, "name url~", 80) == ["name  url", "a     xxxxxxxxx", "bcd"]


@pytest.mark.parametrize("name", ["created_at", "due_at", "last_seen", "since", "expires_at"])
def test_every_time_has_one_form(name: str) -> None:
    assert table([{name: 1_795_334_401.5}], name, 80)[1] == "2026-11-22 08:00:01"


@pytest.mark.parametrize(
    ("state", "delivered", "count", "shown"),
    [
        ("delivered", 1, 3, "delivered (1 of 3)"), ("delivered", 3, 3, "delivered"), ("delivered", 1, 1, "delivered"),
        ("queued", 0, 3, "queued"), ("delivered", 0, 0, "delivered"), ("accepted", 1, 2, "accepted (1 of 2)"),
    ],
)  # fmt: skip
def test_a_state_says_how_many_deliveries_are_delivered(state: str, delivered: int, count: int, shown: str) -> None:
    row = {**ROW, "state": state, "delivered_count": delivered, "delivery_count": count}
    assert message_cells(row)["state"] == shown
