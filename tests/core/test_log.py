"""The log: one line an event, readable and parseable, and no way to forge a second line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from itertools import product

import pytest
from prometheus_client import generate_latest

from sipsms.core import log


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    yield
    log.setup("warning", "json")


def test_an_event_is_one_line_of_names_and_values(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup("info", "auto")
    log.accepted(12, "in", "hook:acme", "2125550123", "5550001111", 2)
    line = capsys.readouterr().err
    assert line.endswith(
        " info accepted message=12 direction=in door=hook:acme source=2125550123 destination=5550001111 deliveries=2\n"
    )
    assert line[10] == "T"
    assert line[23] == "Z"


@pytest.mark.req("A-31")
def test_no_value_can_add_a_line_to_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    for style, user in product(
        ("auto", "json", "console"), ('a\r\nlevel=error event="x"\x1b[31m', "a\nb", "a\x9b31m\u2028b")
    ):
        log.setup("info", style)
        log.auth_failure("sip", user, "192.0.2.1", 5060, "wrong credentials")
        output = capsys.readouterr().err
        assert output.count("\n") == 1
        assert "\r" not in output
        assert "\x1b" not in output
        assert "\x9b" not in output
        assert len(output.splitlines()) == 1


def test_lines_of_a_loop_that_ended_do_not_hold_up_those_of_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    async def registered(aor: str) -> None:
        log.registered(aor, 200, 1, "udp:192.0.2.1:5060")

    log.setup("info", "json")
    loop = asyncio.new_event_loop()
    loop.call_soon(log.registered, "first", 200, 1, "udp:192.0.2.1:5060")
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()  # before its next turn
    asyncio.run(registered("second"))
    lines = [json.loads(line)["aor"] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["first", "second"]


def test_json_events_contain_tracebacks(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup("warning", "json")
    log.accepted(1, "in", "sip", "1", "2", 0)
    try:
        raise ValueError("broken")
    except ValueError as error:
        log.crash("bug", error, message=7)
    (event,) = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (event["event"], event["level"], event["message"]) == ("bug", "error", 7)
    assert "ValueError: broken" in event["exception"]


def test_a_tally_has_the_samples_of_a_counter() -> None:
    log.accepted(1, "in", "a door", "2125550123", "5550001111", 1)
    metrics = generate_latest().decode()
    assert 'sipsms_messages_accepted_total{direction="in",door="a door"} 1.0' in metrics
    assert 'sipsms_messages_accepted_created{direction="in",door="a door"}' in metrics
