"""The stream of changes of messages, and its listeners."""

from __future__ import annotations

import asyncio

import pytest

from sipsms.core.message import Direction, Message
from sipsms.messaging.event_stream import EventStream, Gap

MESSAGE = Message(Direction.IN, "5551234567", "5550001111", "hi", "t", 0.0, id=7)


def stream_of(kept: int = 3) -> EventStream:
    return EventStream(lambda: 5.0, kept)


async def test_changes_are_read_in_order_from_any_number() -> None:
    stream = stream_of()
    for state in ("accepted", "sending", "delivered"):
        stream.note(MESSAGE, state)
    assert [(change.number, change.state, change.at) for change in stream.after(1)] == [
        (2, "sending", 5.0), (3, "delivered", 5.0),
    ]  # fmt: skip
    assert [change.number for change in stream.after(0)] == [1, 2, 3]
    assert stream.after(stream.last) == []


async def test_reading_from_a_number_that_is_not_kept_raises_a_gap() -> None:
    stream = stream_of()
    for _ in range(5):
        stream.note(MESSAGE, "accepted")
    assert [change.number for change in stream.after(2)] == [3, 4, 5]
    for number in (1, 0, 6, -1):
        with pytest.raises(Gap):
            stream.after(number)


async def test_a_listener_waits_for_changes_and_goes_on() -> None:
    stream, seen = stream_of(), []
    quiet, two = asyncio.Event(), asyncio.Event()

    async def follow() -> None:
        async for changes in stream.follow(0, 0.01):
            seen.extend(change.number for change in changes)
            if not changes:
                quiet.set()
            if len(seen) == 2:
                two.set()
            if len(seen) == 4:
                return

    async with asyncio.timeout(5):
        task = asyncio.create_task(follow())
        await quiet.wait()
        stream.note(MESSAGE, "a")
        stream.note(MESSAGE, "b")
        await two.wait()
        stream.note(MESSAGE, "c")
        stream.note(MESSAGE, "d")
        await task
    assert seen == [1, 2, 3, 4]


async def test_two_listeners_see_the_same_changes() -> None:
    stream, seen = stream_of(10), {"a": [], "b": []}  # type: ignore[var-annotated]

    async def follow(name: str) -> None:
        async for changes in stream.follow(0, 5):
            seen[name].extend(change.number for change in changes)
            if len(seen[name]) == 3:
                return

    async with asyncio.timeout(5):
        tasks = [asyncio.create_task(follow(name)) for name in seen]
        for _ in range(3):
            await asyncio.sleep(0)
            stream.note(MESSAGE, "x")
        await asyncio.gather(*tasks)
    assert seen == {"a": [1, 2, 3], "b": [1, 2, 3]}


async def test_a_listener_that_falls_behind_gets_a_gap() -> None:
    stream = stream_of()
    following = stream.follow(0, 5)
    stream.note(MESSAGE, "a")
    assert [change.number for change in await anext(following)] == [1]
    for _ in range(9):
        stream.note(MESSAGE, "b")
    with pytest.raises(Gap):
        await anext(following)
