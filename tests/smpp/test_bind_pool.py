"""Binds to a carrier's SMSC: opened, shown, and closed for good."""

from __future__ import annotations

import asyncio

import pytest

from sipsms.smpp.settings import SmppConfig

from .parts import Parts, Smsc, config, is_up

URL = "smpp://user:pass@smsc.example.net"


class Nowhere:
    """A resolver that knows no name."""

    def __init__(self) -> None:
        self.asked = asyncio.Semaphore(0)

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.release()
        raise OSError("no such name")


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Parts:
    return Parts(monkeypatch)


async def test_binds_that_are_not_up_are_shown_with_the_reason(parts: Parts) -> None:
    parts.resolve = nowhere = Nowhere()  # type: ignore[method-assign]
    options = {"type": "smpp", "url": URL, "bind": "separate", "binds": 2}
    carrier = parts.build("acme", SmppConfig.model_validate(options))
    assert list(carrier.binds()) == []
    carrier.start()
    for _ in range(4):
        await asyncio.wait_for(nowhere.asked.acquire(), 5)
    await asyncio.sleep(0)
    rows = [(row["mode"], row["state"], row["why"]) for row in carrier.binds()]
    why = "smsc.example.net:2775: no such name"
    assert rows == [("transmitter", "unbound", why), ("receiver", "unbound", why)]
    await asyncio.wait_for(carrier.close(), 5)


async def test_no_bind_is_opened_while_the_pool_closes(parts: Parts) -> None:
    """One bind is up, one is just being made, one waits for its next try."""
    async with asyncio.timeout(30), Smsc() as smsc:
        carrier = parts.build("acme", config(smsc, binds=2))
        wait = asyncio.Event()

        async def second(writer: asyncio.StreamWriter) -> None:
            if smsc.bound:
                await wait.wait()

        smsc.before_bind = second
        carrier.start()
        await is_up(carrier)
        closing = asyncio.ensure_future(carrier.close())
        await asyncio.sleep(0.05)
        wait.set()
        await closing
        assert carrier.pool.binds == []
        assert all(keeper.done() for keeper in carrier.pool._keepers), "nobody is left who could open one"
        assert list(carrier.binds()) == []
