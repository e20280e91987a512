"""Registration of a trunk at its server: kept by REGISTER, ended at the stop of the server.

The registration also says whether the server is there. Messages wait a moment for a REGISTER in progress, and a missing
response to a message makes the trunk send a REGISTER at once.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from itertools import count
from random import random
from uuid import NAMESPACE_URL, uuid5

from sipsms.core import log
from sipsms.core.clock import Clock
from sipsms.sip.connection_pool import NotConnected
from sipsms.sip.digest_client import Registration
from sipsms.sip.endpoint import NoResponse
from sipsms.sip.message import Response
from sipsms.sip.transport import Flow, StreamConnection
from sipsms.sip.trunk_client import TrunkClient
from sipsms.sip.trunk_settings import SipConfig
from sipsms.sip.trunk_transport import TrunkTransport

KEEP_ALIVE = 25.0  # seconds between the CRLFs that keep a NAT mapping open (RFC 5626 section 4.4.1)
PATIENCE = 3.0  # seconds that a message waits for a REGISTER in progress, before it is deferred
LEAVE = 1.0  # seconds for the removal of the registration


class TrunkRegistration:
    def __init__(
        self, name: str, config: SipConfig, client: TrunkClient, transport: TrunkTransport, domain: str, key: bytes,
        trust: Callable[[str], None], clock: Clock,
    ) -> None:  # fmt: skip
        """`domain`: ours. `key`: this installation's key for the tokens. `trust`: exempts an address from muting."""
        self._name = name
        self._server = config.server
        self._client = client
        self._transport = transport
        self._trust = trust
        self._clock = clock
        # The token is the same after a restart, so that a request to the previous registration is still ours.
        # It is keyed with a secret of this installation, so that it cannot be computed from the settings.
        facts = "\n".join((name, config.server, config.username))
        self.token = f"trunk-{blake2b(facts.encode(), digest_size=16, key=key).hexdigest()}"
        self._instance = uuid5(NAMESPACE_URL, f"{client.aor} {name}")
        self._call_id = f"{os.urandom(12).hex()}@{domain}"
        self._cseq = count(1)
        self._state = Registration(config.expires)
        self._flow: Flow | None = None  # the flow of the registration
        self._woken = asyncio.Event()
        self._tried = asyncio.Event()  # cleared while a REGISTER in progress may restore the registration
        self._pause = 0.0  # seconds until the next REGISTER, set by `_wake`
        self._task: asyncio.Task[None] | None = None

    @property
    def status(self) -> str:
        """Registration state for `sipsms carriers`."""
        if self._state.is_good(self._clock()):
            return f"registered until {time.strftime('%H:%M:%S', time.gmtime(self._state.until))} UTC"
        return f"not registered: {self._state.why}"

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._stay_registered())

    def stop(self) -> None:
        """Send no more REGISTER; the registration itself stays."""
        if self._task is not None:
            self._task.cancel()

    async def leave(self) -> None:
        """Remove the registration within `LEAVE` seconds.

        The server must not send to a contact that no longer exists.
        """
        self.stop()
        if self._flow is None or not self._state.is_good(self._clock()):
            return
        try:
            async with asyncio.timeout(LEAVE):
                await self._ask_registrar(self._flow, 0)
        except (NoResponse, TimeoutError):
            log.note("trunk_not_signed_off", carrier=self._name)
        self._state.until, self._state.why = 0.0, "signed off"

    async def flow(self) -> Flow:
        """Return the flow of the registration, after a REGISTER in progress. Raises NotConnected."""
        with suppress(TimeoutError):  # shortly after a start or a broken connection
            async with asyncio.timeout(PATIENCE):
                await self._tried.wait()
        if self._flow is None or not self._state.is_good(self._clock()):
            raise NotConnected(self.status)
        return self._flow

    def doubt(self, why: str) -> None:
        """Check whether the server is there: a message got no response."""
        if self._state.is_good(self._clock()):
            self._state.until, self._state.why = 0.0, why
            self._tell()
            self._wake(0.0)

    async def _stay_registered(self) -> None:
        while True:
            try:
                wait = await self._register()
            except Exception as error:  # a bug must not end the registration for ever
                log.crash("trunk_failed", error, carrier=self._name)
                wait = self._state.failed("a bug: see the log", self._clock(), random())
            await self._rest(wait)

    async def _register(self) -> float:
        """Send a REGISTER; return the seconds until the next REGISTER."""
        self._woken.clear()
        was = self._state.why
        try:
            response = await self._ask_any()
        except (NoResponse, NotConnected) as error:
            wait = self._state.failed(str(error), self._clock(), random())
        else:
            wait = self._state.answered(response, self.token, self._clock(), random())
        if self._state.why != was:
            self._tell()
        if wait:
            self._tried.set()
        return wait

    def _tell(self) -> None:
        if self._state.why:
            log.warning("trunk_not_registered", carrier=self._name, why=self._state.why)
        else:
            log.note("trunk_registered", carrier=self._name, server=self._server)

    async def _ask_any(self) -> Response:
        """Return the response of the first address that answers. Raises NoResponse or NotConnected."""
        failed: Exception = NotConnected(f"{self._server}: no address")
        for address in await self._transport.addresses():
            try:
                flow = await self._transport.flow(address)
            except NotConnected as error:
                failed = error
                continue
            try:
                response = await self._ask_registrar(flow, self._state.expires)
            except NoResponse as error:
                failed = error
                if isinstance(flow, StreamConnection):  # seemingly open, but the peer is not there
                    flow.abort()
                continue
            self._reached(address, flow)
            return response
        raise failed

    def _reached(self, address: str, flow: Flow) -> None:
        self._flow = flow
        self._transport.prefer(address)
        self._trust(address)
        if isinstance(flow, StreamConnection):
            flow.settled = partial(self._lost, flow)

    def _lost(self, flow: Flow) -> None:
        """Handle the close of a connection: register again if it carried the registration."""
        now = self._clock()
        if flow is self._flow and self._state.is_good(now):
            self._wake(self._state.lost("the connection was closed", now, random()))
            self._tell()

    def _wake(self, pause: float) -> None:
        self._pause = pause
        self._woken.set()
        if pause < PATIENCE:
            self._tried.clear()

    async def _rest(self, seconds: float) -> None:
        """Wait until the next REGISTER is due, and keep the NAT mapping open meanwhile."""
        now = asyncio.get_running_loop().time
        until = now() + seconds
        while (left := until - now()) > 0:
            try:
                async with asyncio.timeout(min(left, KEEP_ALIVE)):
                    await self._woken.wait()
            except TimeoutError:
                if self._flow is not None and self._state.is_good(self._clock()):
                    self._flow.send(b"\r\n\r\n")
                continue
            self._woken.clear()
            until = now() + self._pause

    async def _ask_registrar(self, flow: Flow, expires: int) -> Response:
        at = flow.sent_by() + (f";transport={flow.name}" if flow.reliable else "")
        headers = {
            "from": [f"<{self._client.aor}>;tag={self._call_id[:12]}"],
            "to": [f"<{self._client.aor}>"],
            "call-id": [self._call_id],
            "contact": [f'<sip:{self.token}@{at}>;expires={expires};+sip.instance="<urn:uuid:{self._instance}>"'],
            "expires": [str(expires)],
            "allow": ["MESSAGE, OPTIONS"],
        }
        return await self._client.ask("REGISTER", f"sip:{self._client.host}", headers, flow, self._cseq)
