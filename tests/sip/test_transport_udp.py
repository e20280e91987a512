"""The UDP listener among phones that have gone: an ICMP error about one must not cost another its answer."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from sipsms.sip.transport import UdpListener


class Nobody:
    """A receiver that only notes that somebody is gone."""

    def __init__(self) -> None:
        self.told = asyncio.Event()

    def datagram(self, data: bytes, flow: Any) -> None: ...

    def unreachable(self, remote: Any, sent: bytes) -> None:
        self.told.set()


def closed_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def scenario() -> list[bytes]:
    receiver = Nobody()
    listener = UdpListener.open(receiver, "127.0.0.1", 0)  # type: ignore[arg-type]
    gone = ("127.0.0.1", closed_port())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind(("127.0.0.1", 0))
        phone.setblocking(False)
        for number in range(20):
            listener.send(b"to one that is gone", gone)  # the kernel answers at once: an error is pending now
            listener.send(b"%d" % number, phone.getsockname())
            await asyncio.sleep(0)
        heard = []
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(2):
            while len(heard) < 20:
                heard.append(await loop.sock_recv(phone, 64))
    async with asyncio.timeout(2):
        await receiver.told.wait()
    listener.close()
    return heard


@pytest.mark.req("C-096", "F-19")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_an_error_of_another_phone_costs_no_answer(loop: str) -> None:
    factory = None
    if loop == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(scenario()) == [b"%d" % number for number in range(20)]
