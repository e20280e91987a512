"""Customers' own SMSCs (S-072 to S-075, S-078): bound on demand, each for one customer, unbound when idle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from sipsms.core import log
from sipsms.core.account import Did
from sipsms.core.clock import Clock
from sipsms.core.smpp_url import smpp_url
from sipsms.smpp import receipt
from sipsms.smpp.bind import Bind, Resolve, Target, unbound
from sipsms.smpp.courier import Gone, Peer
from sipsms.smpp.pdu import Command, Pdu, Status
from sipsms.smpp.session import Mode
from sipsms.smpp.settings import SmppSettings
from sipsms.smpp.submit_sm import read_anything

_IDLE: Final = 300.0  # seconds without a message after which we unbind
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds between attempts to bind


class _Server:
    """Server and user of a customer, with the current bind."""

    def __init__(self, target: Target, window: int) -> None:
        self.target = target
        self.link: Bind | None = None
        self.turn = asyncio.Lock()  # held while binding
        self.room = asyncio.Semaphore(window)
        self.used_at = 0.0
        self.pause = 0.0
        self.retry_at = 0.0
        self.why = ""
        self.account = ""
        self.did = ""


class _Paced(NamedTuple):
    """Bind with limited requests in flight; a request's timeout starts when it is sent."""

    link: Bind
    room: asyncio.Semaphore

    async def ask(self, command: int, fields: Mapping[str, Any], tlvs: Mapping[int, bytes], about: Any = None) -> Pdu:
        async with self.room:
            return await self.link.ask(command, fields, tlvs, about)


class CustomerSmscs:
    def __init__(
        self, settings: Callable[[], SmppSettings], clock: Clock, resolve: Resolve, late: Callable[[Any, Pdu], None]
    ) -> None:
        """`resolve`: refuses addresses that customers must not make us connect to. `late(about, answer)`: takes the
        responses to requests that were given up.
        """
        self._late = late
        self._resolve = resolve
        self._leaving: set[asyncio.Task[None]] = set()
        self._settings = settings
        self._clock = clock
        self._servers: dict[tuple[str, str, str, str], _Server] = {}

    async def peer(self, did: Did) -> Peer:
        """Return a bind to the DID's server, as the DID's own user if the URL names none. Raises Gone."""
        assert did.smpp is not None
        url, settings = smpp_url(did.smpp.url), self._settings()
        username, password = url.username or did.smpp_username, url.password or did.smpp.password
        key = (did.account, url.text, username, password)  # a bind must carry only its customer's messages
        server = self._servers.get(key)
        if server is None:
            target = Target(url, username, password, settings.limits, settings.verify)
            server = self._servers[key] = _Server(target, settings.deliver_window)
            server.account, server.did = did.account, did.number
        async with server.turn:
            return _Paced(await self._bound(server), server.room)

    async def _bound(self, server: _Server) -> Bind:
        now = self._clock()
        server.used_at = now
        if server.link is not None and server.link.is_bound:
            return server.link
        if now < server.retry_at:
            raise Gone(server.why)
        link = Bind(server.target, Command.BIND_TRANSCEIVER, self._clock, self._asked, self._resolve, self._late)
        try:
            await link.open()
        except Gone as error:
            server.pause = min(_LONGEST_PAUSE, server.pause * 2 or _FIRST_PAUSE)
            server.retry_at, server.why = self._clock() + server.pause, str(error)
            raise
        server.link, server.pause, server.retry_at, server.why = link, 0.0, 0.0, ""
        log.note("smpp_push_bound", did=server.did, peer=server.target.url.text)
        return link

    def _asked(self, link: Bind, pdu: Pdu) -> None:
        """Accept receipts for pushed messages; refuse messages, for which customers' programs must bind to us."""
        found = receipt.read(pdu, read_anything(pdu, self._settings().charsets))
        link.answer(pdu, Status.REJECTED_BY_APP if found is None else Status.OK)

    def sweep(self) -> None:
        """Unbind from idle servers. Call it once a second."""
        now = self._clock()
        for key, server in list(self._servers.items()):
            if now - server.used_at > _IDLE and not server.turn.locked():
                del self._servers[key]
                if server.link is not None:
                    task = asyncio.get_running_loop().create_task(server.link.close())
                    self._leaving.add(task)
                    task.add_done_callback(self._leaving.discard)

    def binds(self) -> Iterator[dict[str, Any]]:
        """Yield the rows for `sipsms binds`."""
        for server in self._servers.values():
            if server.link is not None and server.link.is_bound:
                yield server.link.shown(server.did, server.account)
            elif server.why:
                yield unbound(server.target, Mode.TRANSCEIVER, server.did, server.account, server.why)

    async def close(self) -> None:
        links = [server.link for server in self._servers.values() if server.link is not None]
        self._servers.clear()
        if links:
            await asyncio.gather(*(link.close() for link in links))
