"""Binds to a carrier's SMSC: each is opened again after its end, until the pool is closed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from math import inf
from typing import Any, Final

from sipsms.core import log
from sipsms.core.clock import Clock
from sipsms.core.errors import Unavailable
from sipsms.smpp.bind import Bind, Resolve, Target, unbound
from sipsms.smpp.courier import Gone
from sipsms.smpp.deliver_handler import DeliverHandler
from sipsms.smpp.pdu import Command, Pdu
from sipsms.smpp.session import MODES, Limits
from sipsms.smpp.settings import SmppConfig

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds between attempts to bind
_STABLE: Final = 10.0  # seconds after which a bind counts as stable, even without a message
_LAST_ANSWERS: Final = 200  # twentieths of a second to wait for responses before an unbind
_WINDOW: Final = 100  # the SMSC's messages that are being stored at once
_BINDS: Final = {
    "transceiver": (Command.BIND_TRANSCEIVER,), "transmitter": (Command.BIND_TRANSMITTER,),
    "separate": (Command.BIND_TRANSMITTER, Command.BIND_RECEIVER),
}  # fmt: skip


class BindPool:
    def __init__(
        self, name: str, config: SmppConfig, deliver: DeliverHandler, clock: Clock, resolve: Resolve,
        on_late: Callable[[Any, Pdu], None],
    ) -> None:  # fmt: skip
        """Create a pool without binds. `on_late`: see `Bind`."""
        self.binds: list[Bind] = []
        self.why = "not bound yet"  # reason why there is no bind; empty: there is a bind
        self._name = name
        self._config = config
        self._deliver = deliver
        self._clock = clock
        self._resolve = resolve
        self._on_late = on_late
        username, password = config.credentials
        limits = Limits(_WINDOW, config.response_timeout, config.enquire_link, config.response_timeout)
        self._target = Target(config.url, username, password, limits, config.verify, config.ca, config.system_type)
        self._keepers: list[asyncio.Task[None]] = []
        self._closing: asyncio.Future[None] | None = None

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        for command in _BINDS[self._config.bind]:
            self._keepers += [loop.create_task(self._keep(command)) for _ in range(self._config.binds)]

    async def close(self) -> None:
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        for _ in range(_LAST_ANSWERS):  # messages in flight get their response
            if not any(bind.submits for bind in self.binds):
                break
            await asyncio.sleep(0.05)
        await asyncio.gather(*(bind.close() for bind in self.binds))  # each keeper handles the end of its bind
        for task in self._keepers:
            task.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._keepers.clear()

    async def _keep(self, command: Command) -> None:
        """Keep one bind open until the pool is closed."""
        pause = _FIRST_PAUSE
        while self._closing is None:
            bind = Bind(self._target, command, self._clock, self._asked, self._resolve, self._on_late)
            try:
                await self._deliver.recall()
                await bind.open()
            except (Gone, Unavailable) as error:
                if self.why != str(error):
                    self.why = str(error)
                    log.warning("smpp_not_bound", carrier=self._name, why=self.why)
            except Exception as error:  # a bug must not end the bind for ever
                log.crash("smpp_bind_failed", error)
                await asyncio.sleep(_LONGEST_PAUSE)
                continue
            else:
                if await self._hold(bind):
                    pause = _FIRST_PAUSE
            await asyncio.sleep(pause * (0.9 + 0.2 * random.random()))
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def _hold(self, bind: Bind) -> bool:
        """Wait for the end of a bind; True if the bind was stable."""
        self.binds.append(bind)
        self.why, began = "", self._clock()
        log.note("smpp_carrier_bound", carrier=self._name, smsc=bind.peer_id, mode=str(bind.mode))
        try:
            if self._closing is not None:  # the bind came up during the close
                await bind.close()
            await bind.until_closed()
        finally:
            self.binds.remove(bind)
            self._deliver.unbound(bind)
            if not self.binds:
                self.why = bind.why or "unbound"
            log.warning("smpp_carrier_unbound", carrier=self._name, why=bind.why)
        return bind.sent > 0 or self._clock() - began >= _STABLE

    def _asked(self, bind: Bind, pdu: Pdu) -> None:
        self._deliver.handle(bind, pdu, self.binds)

    def transmitters(self) -> list[Bind]:
        return [bind for bind in self.binds if bind.is_bound and bind.mode != "receiver"]

    def oldest(self, now: float) -> float:
        """Return the arrival time of the oldest message whose response may be lost; inf if none."""
        return min((bind.oldest(now) for bind in self.binds), default=inf)

    def rows(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of the open binds, and one row for each kind of missing binds."""
        for bind in self.binds:
            yield bind.shown(name, "")
        for command in _BINDS[self._config.bind]:
            missing = self._config.binds - sum(bind.mode == MODES[command] for bind in self.binds)
            if missing and self._keepers:
                why = self.why or f"{missing} of {self._config.binds} are not up"
                yield unbound(self._target, MODES[command], name, "", why)
