"""The ways to a trunk's server: the resolver's moods (F-24), and from whom a message is the server's."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError

from sipsms.sip import trunk_transport
from sipsms.sip.connection_pool import NotConnected
from sipsms.sip.endpoint import Endpoint
from sipsms.sip.settings import SipSettings
from sipsms.sip.transport import UdpFlow
from sipsms.sip.trunk_settings import SipConfig
from sipsms.sip.trunk_transport import AGAIN, FRESH, LAST_GOOD, TrunkTransport, reaches

SERVER = "sip.carrier.example"


class Resolver:
    """What getaddrinfo says: addresses, or an error; `asked` counts."""

    def __init__(self) -> None:
        self.says: list[str] | Exception = ["192.0.2.1", "192.0.2.2"]
        self.asked = 0
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked += 1
        await self.go.wait()
        if isinstance(self.says, Exception):
            raise self.says
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in self.says]


class Time:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.ahead = 0.0

    def __call__(self) -> float:
        return self._loop.time() + self.ahead


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    one = Endpoint(SipSettings())
    yield one
    await one.close(0)


def config(**changes: Any) -> SipConfig:
    return SipConfig.model_validate({"type": "sip", "server": SERVER, "username": "u", "password": "p", **changes})


@pytest.fixture
def resolver() -> Resolver:
    return Resolver()


@pytest.fixture
async def link(endpoint: Endpoint, resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> TrunkTransport:
    """With a resolver that the test speaks for, and a clock that it can put ahead."""
    one = TrunkTransport(endpoint, config(), SipSettings())
    loop = _Loop(asyncio.get_running_loop(), resolver)
    monkeypatch.setattr(one, "_loop", loop)
    return one


class _Loop:
    def __init__(self, loop: asyncio.AbstractEventLoop, resolver: Resolver) -> None:
        self.time = Time(loop)
        self._resolver = resolver

    async def run_in_executor(self, _threads: Any, look_up: Any) -> list[Any]:
        return await self._resolver(*look_up.args)


def later(link: TrunkTransport, seconds: float) -> None:
    link._loop.time.ahead += seconds  # type: ignore[attr-defined]


@pytest.mark.req("F-24")
async def test_a_name_is_resolved_once_a_minute(link: TrunkTransport, resolver: Resolver) -> None:
    """Also by many at once."""
    found = await asyncio.gather(*(link.addresses() for _ in range(20)))
    assert set(found) == {("192.0.2.1", "192.0.2.2")}
    assert resolver.asked == 1
    later(link, FRESH + 1)
    resolver.says = ["192.0.2.3"]
    assert await link.addresses() == ("192.0.2.3",)


@pytest.mark.req("F-24")
@pytest.mark.parametrize("error", [socket.gaierror(-3, "Temporary failure"), TimeoutError(), UnicodeError("label")])
async def test_the_last_good_answer_is_kept_for_an_hour(
    link: TrunkTransport, resolver: Resolver, error: Exception
) -> None:
    good = await link.addresses()
    resolver.says = error
    later(link, FRESH + 1)
    assert await link.addresses() == good
    later(link, LAST_GOOD)
    with pytest.raises(NotConnected, match=SERVER):
        await link.addresses()
    resolver.says = ["192.0.2.9"]
    with pytest.raises(NotConnected, match="a moment ago"):
        await link.addresses()
    later(link, AGAIN + 1)
    assert await link.addresses() == ("192.0.2.9",)


@pytest.mark.req("F-24")
async def test_a_resolver_that_does_not_answer_does_not_block(
    link: TrunkTransport, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """The loop goes on, and so does the trunk in the end."""
    monkeypatch.setattr(trunk_transport, "RESOLVE_TIMEOUT", 0.05)
    resolver.go.clear()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    ticking = asyncio.create_task(tick())
    with pytest.raises(NotConnected, match="no answer of the resolver"):
        await link.addresses()
    ticking.cancel()
    assert ticks


async def test_the_server_that_answers_is_tried_first(link: TrunkTransport, resolver: Resolver) -> None:
    await link.addresses()
    link.prefer("192.0.2.2")
    assert await link.addresses() == ("192.0.2.2", "192.0.2.1")
    later(link, FRESH + 1)
    resolver.says = ["192.0.2.1", "192.0.2.3", "192.0.2.2"]
    assert await link.addresses() == ("192.0.2.2", "192.0.2.1", "192.0.2.3")
    link.avoid("192.0.2.2")
    assert await link.addresses() == ("192.0.2.1", "192.0.2.3", "192.0.2.2")


async def test_a_trunk_uses_a_listener_or_its_own_socket(endpoint: Endpoint) -> None:
    link = TrunkTransport(endpoint, config(server="127.0.0.1"), SipSettings())
    own = await link.flow("127.0.0.1")
    assert own.remote == ("127.0.0.1", 5060)
    assert await link.flow("127.0.0.1") is not own
    assert (await link.flow("127.0.0.1")).local == own.local, "one socket is enough"
    port = await endpoint.listen("udp", "127.0.0.1", 0)
    assert (await link.flow("127.0.0.1")).local == f"udp:127.0.0.1:{port}"
    link.close()


async def test_only_addresses_of_the_server_are_accepted_as_the_trunk(endpoint: Endpoint) -> None:
    link = TrunkTransport(endpoint, config(server="127.0.0.1"), SipSettings())
    listener = endpoint.udp_listeners[0] if await endpoint.listen("udp", "127.0.0.1", 0) else None
    assert listener is not None
    assert link.is_from(UdpFlow(listener, ("127.0.0.1", 9999)))
    assert not link.is_from(UdpFlow(listener, ("127.0.0.2", 5060)))
    by_tcp = TrunkTransport(endpoint, config(server="127.0.0.1", transport="tcp"), SipSettings())
    assert not by_tcp.is_from(UdpFlow(listener, ("127.0.0.1", 5060)))


async def test_missing_certificate_authorities_stop_only_the_trunk(endpoint: Endpoint, tmp_path: Any) -> None:
    """The trunk waits with a reason; the server runs."""
    link = TrunkTransport(endpoint, config(transport="tls", ca=str(tmp_path / "none.pem")), SipSettings())
    with pytest.raises(NotConnected, match=r"none\.pem"):
        await link.flow("127.0.0.1")


@pytest.mark.req("C-120")
@pytest.mark.parametrize("server", ["192.0.2.1", "[2001:db8::1]"])
def test_tls_needs_a_domain_name(server: str) -> None:
    """A certificate speaks for a domain."""
    with pytest.raises(ValidationError, match="RFC 5922"):
        config(transport="tls", server=server)
    assert config(transport="tls", server=server, domain="sip.carrier.example")


@pytest.mark.parametrize(
    ("local", "remote", "so"),
    [
        ("udp:0.0.0.0:5060", "192.0.2.1", True),
        ("udp:127.0.0.1:5060", "192.0.2.1", False),
        ("udp:127.0.0.1:5060", "127.0.0.5", True),
        ("udp:192.0.2.7:5060", "192.0.2.1", True),
        ("udp:192.0.2.7:5060", "127.0.0.1", False),
        ("udp:[::]:5060", "2001:db8::1", True),
        ("udp:[::]:5060", "192.0.2.1", False),
        ("udp:[::1]:5060", "fe80::1%eth0", False),
    ],
)
def test_the_listener_of_the_address_family_is_used(local: str, remote: str, so: bool) -> None:
    assert reaches(local, remote) is so
