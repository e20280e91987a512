"""Transport of a trunk: the addresses of its server, and a flow to one of them. It knows no SIP.

Addresses come from the system's resolver (A and AAAA, in the system's order) without blocking the loop. If the resolver
fails, its last answer is used for up to an hour. UDP leaves by one of our listeners, so that responses and messages
come to a port that is open anyway. If no listener can reach the server, UDP leaves by a socket of its own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from sipsms.sip.connection_pool import ConnectionPool, NotConnected
from sipsms.sip.endpoint import Endpoint
from sipsms.sip.settings import SipSettings
from sipsms.sip.tls import client_context
from sipsms.sip.transport import Flow, StreamConnection, UdpFlow, UdpListener
from sipsms.sip.trunk_settings import SipConfig

RESOLVE_TIMEOUT = 10.0
FRESH = 60.0  # seconds that a resolver's answer is used without a new query
KNOWN = 86400.0  # seconds that an address which answered counts as the server's: the longest registration
AGAIN = 5.0  # seconds after a resolver failure until the next query
LAST_GOOD = 3600.0  # seconds that the last answer is used when the resolver fails


class TrunkTransport:
    def __init__(self, endpoint: Endpoint, config: SipConfig, settings: SipSettings) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._transport = config.transport
        self._server = _short(config.server.strip("[]"))
        self._port = config.port or (5061 if config.transport == "tls" else 5060)
        self._speaks_for = config.domain or self._server if _is_address(self._server) else self._server
        self._authorities = config.ca
        self._loop = asyncio.get_running_loop()
        # The address that answered last comes first.
        self._addresses = [self._server] if _is_address(self._server) else []
        self._known: dict[str, float] = {}  # address -> time of its last answer; messages may come from each
        self._resolved_at = self._failed_at = -LAST_GOOD
        self._threads = ThreadPoolExecutor(2, "trunk-lookup")  # own pool: slow name servers delay no other lookups
        self._asking = asyncio.Lock()
        self._connector: ConnectionPool | None = None
        self._own: list[UdpListener] = []

    # --- addresses ---

    async def addresses(self) -> Sequence[str]:
        """Return the addresses in the order to try them. Raises NotConnected."""
        if _is_address(self._server):
            return self._addresses
        async with self._asking:
            now = self._loop.time()
            if now - self._resolved_at < FRESH:
                return tuple(self._addresses)
            if now - self._failed_at >= AGAIN:
                await self._resolve()
            elif not self._addresses or now - self._resolved_at >= LAST_GOOD:
                raise NotConnected(f"{self._server}: no answer of the resolver a moment ago")
        return tuple(self._addresses)

    async def _resolve(self) -> None:
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT):
                look_up = partial(socket.getaddrinfo, self._server, self._port, type=socket.SOCK_STREAM)
                found = await self._loop.run_in_executor(self._threads, look_up)
        except (OSError, TimeoutError, UnicodeError) as error:
            self._failed_at = self._loop.time()
            if not self._addresses or self._loop.time() - self._resolved_at >= LAST_GOOD:
                raise NotConnected(f"{self._server}: {str(error) or 'no answer of the resolver'}") from None
            return
        fresh = list(dict.fromkeys(str(one[4][0]) for one in found))
        first = [one for one in self._addresses[:1] if one in fresh]
        self._addresses = list(dict.fromkeys((*first, *fresh)))
        self._resolved_at = self._loop.time()

    def prefer(self, address: str) -> None:
        """Record that an address answers, and put it first."""
        now = self._loop.time()
        self._known = {one: at for one, at in self._known.items() if now - at < KNOWN} | {address: now}
        self._addresses = [address, *(one for one in self._addresses if one != address)]

    def avoid(self, address: str) -> None:
        """Put an address that does not answer last."""
        if address in self._addresses:
            self._addresses = [*(one for one in self._addresses if one != address), address]

    # --- flows ---

    async def flow(self, address: str) -> Flow:
        """Return a flow to an address. Raises NotConnected."""
        if self._transport == "udp":
            return UdpFlow(self._listener(address), (address, self._port))
        return await self._connections().connect(self._speaks_for, address, self._port)

    async def any_flow(self) -> Flow:
        """Return a flow to the first address that accepts a connection. Raises NotConnected."""
        failed = NotConnected(f"{self._server}: no address")
        for address in await self.addresses():
            try:
                return await self.flow(address)
            except NotConnected as error:
                failed = error
        raise failed

    def is_from(self, flow: Flow) -> bool:
        """Return True if the flow is the server's.

        By UDP the flow must be from the server's address, else on the connection that we opened.
        """
        if self._transport == "udp":
            return flow.name == "udp" and flow.remote[0] in {*self._addresses, *self._known}
        return isinstance(flow, StreamConnection) and self._connector is not None and self._connector.vouches_for(flow)

    def _listener(self, address: str) -> UdpListener:
        found = next((one for one in (*self._endpoint.udp_listeners, *self._own) if reaches(one.local, address)), None)
        if found is not None:
            return found
        everywhere = "::" if ":" in address else "0.0.0.0"
        try:
            own = UdpListener.open(self._endpoint, everywhere, 0, self._settings.advertised)
        except OSError as error:
            raise NotConnected(f"no socket: {error}") from None
        self._own.append(own)
        return own

    def _connections(self) -> ConnectionPool:
        if self._connector is None:
            context = None
            if self._transport == "tls":
                try:
                    context = client_context(self._authorities)
                except (OSError, ssl.SSLError) as error:
                    raise NotConnected(f"ca: {self._authorities}: {error}") from None
            self._connector = ConnectionPool(self._endpoint, self._transport, self._settings, context)
        return self._connector

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._connector is not None:
            self._connector.close()
        for one in self._own:
            one.close()


def _short(host: str) -> str:
    """Return an IPv6 address in the system's spelling."""
    return str(ipaddress.ip_address(host)) if _is_address(host) else host


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def reaches(local: str, remote: str) -> bool:
    """Return True if a listener ("udp:0.0.0.0:5060") can send to an address.

    A listener on loopback does not reach beyond this machine.
    """
    host = ipaddress.ip_address(local.removeprefix("udp:").rpartition(":")[0].strip("[]"))
    other = ipaddress.ip_address(remote.partition("%")[0])
    if host.version != other.version:
        return False
    return host.is_unspecified or host.is_loopback == other.is_loopback
