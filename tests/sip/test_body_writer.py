"""Segments of a text for one phone: no letter is divided, and words stay whole where they can."""

from __future__ import annotations

import pytest

from sipsms.sip.body_writer import pieces

FLAG = "\U0001f1e8\U0001f1e6"  # two regional indicators


@pytest.mark.parametrize("letter", [FLAG, "e\u0301", "\U0001f44d\U0001f3fd", "\U0001f469\u200d\U0001f52c"])
def test_no_character_is_divided_between_segments(letter: str) -> None:
    text = "x" + letter * 60
    found = pieces(text, 100)
    assert "".join(found) == text
    assert all(len(one.encode()) <= 100 for one in found)
    assert all(one.removeprefix("x") == letter * one.count(letter) for one in found)


def test_a_segment_ends_after_a_blank_of_its_second_half() -> None:
    assert pieces("word " * 30, 100) == ["word " * 20, "word " * 10]
    assert pieces("a " + "x" * 150, 100) == ["a " + "x" * 98, "x" * 52]


def test_a_character_wider_than_a_segment_is_divided() -> None:
    text = "e" + "\u0301" * 200
    assert "".join(pieces(text, 100)) == text
    assert max(len(one.encode()) for one in pieces(text, 100)) <= 100


def test_a_text_that_fits_is_one_segment() -> None:
    assert pieces("hello", 0) == pieces("hello", 5) == ["hello"]
