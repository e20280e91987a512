"""The tracer beside a stand-in for the endpoint: when it taps, what it drops, where its socket is."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from sipsms.core import log
from sipsms.sip import trace
from sipsms.sip.settings import HepSettings
from sipsms.sip.trace import Tap, Tracer


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    yield
    log.setup("warning", "json")


class Tapped:
    tap: Tap | None = None


class Flow:
    name, reliable, remote, local, number = "udp", False, ("192.0.2.7", 5062), "udp:0.0.0.0:5060", 0

    def send(self, data: bytes) -> bool:
        return True

    def sent_by(self) -> str:
        return "[2001:db8::1]:5060"


@pytest.fixture
async def tapped() -> Tapped:
    return Tapped()


@pytest.fixture
async def tracer(tapped: Tapped) -> AsyncIterator[Tracer]:
    tasks: list[asyncio.Task[Any]] = []
    loop = asyncio.get_running_loop()
    tracer = Tracer(tapped, "h", lambda account, flow: False, lambda work: tasks.append(loop.create_task(work)))
    yield tracer
    tracer.close()
    for task in tasks:
        task.cancel()


async def _until(look: Any) -> None:
    async with asyncio.timeout(5):
        while not look():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_nothing_is_traced_without_a_listener(tapped: Tapped, tracer: Tracer, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = await asyncio.start_unix_server(lambda *connection: tracer.watch(*connection, {}), path)
    assert tapped.tap is None
    reader, writer = await asyncio.open_unix_connection(path)
    assert b"hello" in await reader.readline()
    assert tapped.tap is not None
    tapped.tap(True, Flow(), b"OPTIONS sip:h SIP/2.0\r\n\r\n")
    assert b'"peer": "192.0.2.7:5062"' in await reader.readline()
    writer.close()
    await _until(lambda: tapped.tap is None)
    server.close()


async def test_a_changed_capture_server_is_used(tapped: Tapped, tracer: Tracer) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two,
    ):
        for sock in (one, two):
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(5)
            tracer.send_to(HepSettings(host="localhost" if sock is one else "127.0.0.1", port=sock.getsockname()[1]))
            await _until(lambda: tapped.tap is not None)
            assert tapped.tap is not None
            tapped.tap(False, Flow(), b"OPTIONS sip:h SIP/2.0\r\n\r\n")
            assert sock.recv(65535).startswith(b"HEP3")
    tapped.tap(False, Flow(), b"x")  # nobody listens there any more: ICMP
    before = log.HEP_PACKETS.labels("dropped")._value.get()
    tapped.tap(False, Flow(), b"x")
    tapped.tap(False, Flow(), b"x")
    assert log.HEP_PACKETS.labels("dropped")._value.get() > before
    tracer.send_to(None)
    assert tapped.tap is None


async def test_a_capture_server_without_address_is_resolved_again(
    tapped: Tapped, tracer: Tracer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log.setup("warning", "json")
    monkeypatch.setattr(trace, "_AGAIN", 0.01)
    tracer.send_to(HepSettings(host="nowhere.invalid"))
    seen = ""
    async with asyncio.timeout(20):
        while seen.count("hep_unavailable") < 2:
            await asyncio.sleep(0.01)
            seen += capsys.readouterr().err
    assert tapped.tap is None
    tracer.send_to(None)


async def test_an_error_in_the_tracer_does_not_reach_the_server(tapped: Tapped, tracer: Tracer) -> None:
    class Broken(Flow):
        def sent_by(self) -> str:
            raise RuntimeError("no")

    tracer.see(True, Broken(), b"")
