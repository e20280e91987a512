"""When a connection's peer is taken for one that does not receive what it is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sipsms.smpp.connection import Connection
from sipsms.smpp.pdu import Command
from sipsms.smpp.resend_detection import QUIET
from sipsms.smpp.session import Mode, Session
from sipsms.smpp.settings import SmppSettings


class Way(Connection):
    """To a peer whose system has as many octets of ours to acknowledge as we say; nothing comes from there."""

    def __init__(self) -> None:
        self.now = 100.0
        session = Session("smsc", self.now, SmppSettings().limits)
        super().__init__(session, lambda: self.now, lambda connection, event: None)
        self.in_flight = 0
        self._transport = _Transport(self)  # type: ignore[assignment]
        self.session.bound(Mode.TRANSCEIVER)

    def unread(self) -> int:
        return self.in_flight

    def pass_(self, seconds: float, in_flight: int = 0) -> None:
        """Those have been acknowledged by then; and the second's tick."""
        self.now += seconds
        self.in_flight = in_flight
        self.tick(self.now)

    def write(self) -> None:
        self.ask(Command.DELIVER_SM, {}, None, {})
        self.flush()


class _Transport:
    def __init__(self, way: Way) -> None:
        self._way = way

    def write(self, data: bytes) -> None:
        self._way.in_flight += len(data)

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


@pytest.mark.req("I4", "P-10")
async def test_a_moment_without_acknowledgement_does_not_make_a_peer_mute() -> None:
    """Each of our requests has one, for as long as it takes there and back; the peer may have been silent for long."""
    way = Way()
    for _ in range(20):
        way.pass_(0.97)
        way.now += 0.05 * QUIET
        way.write()
        way.now += 0.08
        assert not way.is_mute(way.now)
        way.pass_(0.9)
        assert not way.is_mute(way.now)


@pytest.mark.req("I4", "P-10")
async def test_a_first_check_after_a_long_time_does_not_make_a_peer_mute() -> None:
    way = Way()
    way.now += 30
    way.write()
    way.now += 0.08
    assert not way.is_mute(way.now)


@pytest.mark.req("I4", "P-10")
@pytest.mark.parametrize("more", [False, True])
async def test_a_peer_that_acknowledges_nothing_is_mute_soon(more: bool) -> None:
    way = Way()
    for _ in range(5):
        way.pass_(1)
    way.write()
    way.now += QUIET / 2
    if more:
        way.write()
    assert not way.is_mute(way.now)
    way.now += QUIET / 2
    assert way.is_mute(way.now)
    way.pass_(1, in_flight=way.in_flight)
    assert way.is_mute(way.now)
    way.pass_(1)
    assert not way.is_mute(way.now), "it has them now"
    await asyncio.sleep(0)
