"""Customers' own servers (S-072 to S-075, S-078): bound to when there is something to push, and left after a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from sipsms.core import log
from sipsms.core.account import Did
from sipsms.core.clock import Clock
from sipsms.core.smpp_url import smpp_url
from sipsms.smpp.bind import Link, Resolve, Target, unbound
from sipsms.smpp.courier import Gone, Peer
from sipsms.smpp.data_coding import is_receipt
from sipsms.smpp.pdu import Command, Pdu, Status
from sipsms.smpp.session import Limits, Mode

_IDLE: Final = 300.0  # seconds without a message after which we unbind
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds between tries to bind


class PushOptions(NamedTuple):
    """From the configuration's `smpp` and `callbacks`."""

    limits: Limits
    verify: bool  # certificates of ssmpp:// servers
    window: int  # messages that a server has not answered


class _Server:
    """One server and user, with the bind there is."""

    def __init__(self, target: Target, window: int) -> None:
        self.target = target
        self.link: Link | None = None
        self.turn = asyncio.Lock()  # to bind
        self.room = asyncio.Semaphore(window)
        self.used_at = 0.0
        self.pause = 0.0
        self.retry_at = 0.0
        self.why = ""
        self.account = ""
        self.did = ""


class _Paced(NamedTuple):
    """A bind that is asked only so much at once. The time for an answer begins when it is a request's turn."""

    link: Link
    room: asyncio.Semaphore

    async def ask(
        self, command: int, fields: Mapping[str, Any], tlvs: Mapping[int, bytes], about: Any = None
    ) -> Pdu:  # fmt: skip
        async with self.room:
            return await self.link.ask(command, fields, tlvs, about)


class Pushes:
    def __init__(
        self, options: Callable[[], PushOptions], clock: Clock, resolve: Resolve, late: Callable[[Any, Pdu], None]
    ) -> None:  # fmt: skip
        """`resolve`: refuses addresses that customers may not make us connect to. `late(about, answer)`: to what was
        given up."""
        self._late = late
        self._resolve = resolve
        self._leaving: set[asyncio.Task[None]] = set()
        self._options = options
        self._clock = clock
        self._servers: dict[tuple[str, str, str, str], _Server] = {}

    async def peer(self, did: Did) -> Peer:
        """Bound to the DID's server, with its own user and password where the URL has none. Raises Gone."""
        assert did.smpp is not None
        url, options = smpp_url(did.smpp.url), self._options()
        username, password = url.username or did.smpp_username, url.password or did.smpp.password
        key = (did.account, url.text, username, password)  # a customer's bind is for its own messages
        server = self._servers.get(key)
        if server is None:
            target = Target(url, username, password, options.limits, options.verify)
            server = self._servers[key] = _Server(target, options.window)
            server.account, server.did = did.account, did.number
        async with server.turn:
            return _Paced(await self._bound(server), server.room)

    async def _bound(self, server: _Server) -> Link:
        now = self._clock()
        server.used_at = now
        if server.link is not None and server.link.is_bound:
            return server.link
        if now < server.retry_at:
            raise Gone(server.why)
        link = Link(server.target, Command.BIND_TRANSCEIVER, self._clock, self._asked, self._resolve, self._late)
        try:
            await link.open()
        except Gone as error:
            server.pause = min(_LONGEST_PAUSE, server.pause * 2 or _FIRST_PAUSE)
            server.retry_at, server.why = self._clock() + server.pause, str(error)
            raise
        server.link, server.pause, server.retry_at, server.why = link, 0.0, 0.0, ""
        log.note("smpp_push_bound", did=server.did, peer=server.target.url.text)
        return link

    def _asked(self, link: Link, pdu: Pdu) -> None:
        """A customer's server has nothing to send by this bind: its programs bind to us. Receipts of what was pushed
        are no news."""
        link.answer(pdu, 0 if is_receipt(pdu.fields.get("esm_class", 0)) else Status.REJECTED_BY_APP)

    def sweep(self) -> None:
        """Once a second: leave those who need us no more; nobody waits for their answer to that."""
        now = self._clock()
        for key, server in list(self._servers.items()):
            if now - server.used_at > _IDLE and not server.turn.locked():
                del self._servers[key]
                if server.link is not None:
                    task = asyncio.get_running_loop().create_task(server.link.close())
                    self._leaving.add(task)
                    task.add_done_callback(self._leaving.discard)

    def binds(self) -> Iterator[dict[str, Any]]:
        """For `sipsms binds`."""
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
