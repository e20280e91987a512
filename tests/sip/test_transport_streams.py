"""Much data by one connection: handled in slices, in order, and to the end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sipsms.sip.settings import SipSettings
from sipsms.sip.transport import SLICE, StreamConnection, Streams


class Transport:
    """What uvloop's transport does for a connection."""

    def __init__(self) -> None:
        self.is_reading, self.is_closed = True, False

    def get_extra_info(self, name: str) -> Any:
        return ("192.0.2.1", 4000) if name == "peername" else None

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def close(self) -> None:
        self.is_closed = True

    abort = close


class Receiver:
    """Notes what comes, and in which turn of the loop."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.ended = False
        self.limit = 10**9

    def connected(self, connection: StreamConnection) -> None: ...

    def stream_data(self, data: bytes, connection: StreamConnection) -> None:
        assert not self.ended
        self.got.append(data)
        if len(self.got) >= self.limit:
            connection.abort()

    def has_part(self, connection: StreamConnection) -> bool:
        return False

    def disconnected(self, connection: StreamConnection) -> None:
        self.ended = True


def opened() -> tuple[Receiver, Transport, StreamConnection]:
    receiver, transport = Receiver(), Transport()
    connection = StreamConnection(Streams(receiver, "tcp", SipSettings()), None)  # type: ignore[arg-type]
    connection.connection_made(transport)  # type: ignore[arg-type]
    return receiver, transport, connection


DATA = bytes(range(256)) * 256


@pytest.mark.req("A-27", "A-20")
async def test_much_data_is_handled_in_slices_a_turn_each() -> None:
    """No stranger's chunk holds the loop: others have their turn between two slices."""
    receiver, transport, connection = opened()
    connection.data_received(DATA)
    assert receiver.got == [DATA[:SLICE]]
    assert not transport.is_reading
    await asyncio.sleep(0)
    assert receiver.got == [DATA[:SLICE], DATA[SLICE : 2 * SLICE]]
    connection.data_received(b"a last one, read before the pause")
    for _ in range(len(DATA) // SLICE + 1):
        await asyncio.sleep(0)
    assert transport.is_reading
    assert b"".join(receiver.got) == DATA + b"a last one, read before the pause"
    connection.data_received(b"short")
    assert receiver.got[-1] == b"short", "at once"


@pytest.mark.req("A-25")
async def test_data_before_a_reset_is_handled_before_the_connection_is_over() -> None:
    receiver, _, connection = opened()
    connection.data_received(DATA)
    connection.connection_lost(ConnectionResetError())
    assert not receiver.ended
    for _ in range(len(DATA) // SLICE + 1):
        await asyncio.sleep(0)
    assert receiver.ended
    assert b"".join(receiver.got) == DATA


@pytest.mark.req("A-27")
async def test_nothing_is_handled_after_we_have_closed() -> None:
    receiver, transport, connection = opened()
    receiver.limit = 2
    connection.data_received(DATA)
    for _ in range(5):
        await asyncio.sleep(0)
    assert transport.is_closed
    assert len(receiver.got) == 2
    connection.connection_lost(None)
    assert receiver.ended
