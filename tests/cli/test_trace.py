"""The ladder's lines: what phones write cannot paint on the terminal."""

from __future__ import annotations

from typing import Any

from sipsms.cli.trace import Ladder


def event(**changes: Any) -> dict[str, Any]:
    plain = {
        "at": 1.5, "incoming": True, "transport": "udp", "peer": "192.0.2.7:5062", "method": "MESSAGE", "status": 0,
        "reason": "", "call_id": "call-1234567", "source": "desk", "destination": "2125550123", "user_agent": "",
        "sms_to": "", "content_type": "", "length": 0,
    }  # fmt: skip
    return {**plain, **changes}


def test_a_peer_keeps_its_name_in_the_ladder() -> None:
    ladder = Ladder(colours=False)
    ladder.draw(event(user_agent="Phone/1"))
    answer = ladder.draw(event(incoming=False, status=202, reason="Accepted"))
    assert "192.0.2.7:5062 udp Phone/1 " in answer
    assert answer.endswith("◀── sipsms  202 Accepted (MESSAGE)  [call-123]")


def test_each_message_is_one_line_of_the_ladder() -> None:
    ladder = Ladder(colours=False)
    assert ladder.draw(event(sms_to="5550001111", content_type="text/plain", length=3)).endswith(
        "MESSAGE  desk → 2125550123  X-SMS-To: 5550001111  text/plain 3 characters  [call-123]"
    )
    assert "image/png 3 bytes" in ladder.draw(event(content_type="image/png", length=3))
    assert "7 messages missed" in ladder.draw({"missed": 7})
    assert ladder.draw(event(raw="A\r\nB: c\r\n\r\ntext")).endswith("]\n    A\n    B: c\n    \n    text\n")


def test_control_characters_are_not_printed() -> None:
    evil = "\x1b[2J\x9b\r\n\u202e"
    texts = ("method", "reason", "call_id", "source", "destination", "user_agent", "sms_to", "content_type", "raw")
    for status in (0, 200):
        line = Ladder(colours=False).draw(event(**dict.fromkeys(texts, evil), length=1, status=status))
        assert not {"\x1b", "\x9b", "\r", "\u202e"} & set(line)


def test_each_class_of_status_has_its_colour() -> None:
    ladder = Ladder(colours=True)
    drawn = [ladder.draw(event(status=status)) for status in (200, 401, 500)]
    assert ["\x1b[32m" in drawn[0], "\x1b[33m" in drawn[1], "\x1b[31m" in drawn[2]] == [True] * 3
