"""The location service in process, written through to the store (RFC 3261 section 10; "usrloc" elsewhere).

Lookups never leave memory. A change is applied in memory at once, in the order REGISTERs come, and answered only after
it is committed; if the commit fails, the AOR's bindings are put back. Devices outlive their bindings: a phone that was
away for days is still owed its messages.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from sipsms.core.registration import Binding, Device, host_of, identity
from sipsms.sip import device_identity as phones
from sipsms.store import bindings as stored
from sipsms.store.bindings import Change, key_of
from sipsms.store.store import Store

_MAX_DEVICES = 40  # of one account, registered or remembered


def _usable(binding: Binding) -> bool:
    """A stream binding lives as long as its connection."""
    return bool(binding.flow) or binding.received.startswith("udp:")


class Location:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._bindings: dict[str, list[Binding]] = {}
        self._devices: dict[str, list[Device]] = {}
        self._by_device: dict[int, Binding] = {}
        self._flows: dict[tuple[str, int], list[Binding]] = {}  # of streams
        self._expiry: list[tuple[float, str]] = []  # a heap with one entry that counts for each AOR
        self._scheduled: dict[str, float] = {}
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}
        self.on_change: Callable[[str], None] = lambda aor: None  # an AOR's bindings came or went; must only note it

    def __len__(self) -> int:
        return sum(map(len, self._bindings.values()))

    async def load(self, now: float, aor: str = "") -> int:
        """Read back what was registered before (of one AOR, or all); how many bindings are still alive."""
        found, known = await self._store.read(lambda connection: stored.load(connection, now, aor))
        for device in known:
            self._devices.setdefault(device.aor, []).append(device)
        for binding in found:
            binding.flow = 0  # connections do not survive a restart; the phone comes back by a new one
            self._keep(binding)
        return len(found)

    # --- lookups ---

    def hosts(self) -> set[str]:
        """The addresses that phones are registered from."""
        received = (binding.received for bindings in self._bindings.values() for binding in bindings)
        return set(map(host_of, received))

    def bindings(self, aor: str, now: float) -> list[Binding]:
        return [binding for binding in self._bindings.get(aor, ()) if binding.expires_at > now]

    def devices(self, aor: str) -> list[Device]:
        return self._devices.get(aor, [])

    def binding_of(self, device: int, now: float) -> Binding | None:
        binding = self._by_device.get(device)
        return binding if binding is not None and binding.expires_at > now else None

    def device_of_instance(self, aor: str, instance: str) -> int:
        return next((one.id for one in self.devices(aor) if one.stable and one.key.strip("<>") == instance), 0)

    def on_flow(self, received: str, local: str, number: int, now: float) -> list[Binding]:
        if number:
            return [one for one in self._flows.get((local, number), ()) if one.expires_at > now]
        return []

    def ways(self, device: int, now: float) -> list[Binding]:
        newest = self.binding_of(device, now)
        if newest is None:
            return []
        others = self.bindings(newest.aor, now)
        return [newest, *(one for one in reversed(others) if one.device == device and one is not newest)]

    # --- changes ---

    async def apply(self, aor: str, updated: Sequence[Binding], removed: Sequence[Binding], now: float) -> list[Device]:
        """Take over what the registrar decided; the devices that can be reached now.

        Raises Unavailable, with nothing changed. Call it in the AOR's `turn`.
        """
        ids = await self._new_ids(updated)
        before = list(self._bindings.get(aor, ())), list(self._devices.get(aor, ()))
        for binding in removed:
            self._drop(binding)
        touched: list[Device] = []
        forgotten: list[int] = []
        for binding in updated:
            device = self._identify(binding, now, ids, forgotten)
            binding.device = device.id
            self._keep(binding)
            touched.append(device)
        gone = {key_of(binding) for binding in removed} - {key_of(binding) for binding in updated}
        change = Change(updated, list(gone), touched, forgotten)
        try:
            await self._store.writer.put(stored.save_all, change)
        except Exception:
            self._put_back(aor, *before)
            raise
        return touched

    @asynccontextmanager
    async def turn(self, aor: str) -> AsyncIterator[None]:
        """Changes to one AOR come one after the other: each sees what the one before has made of it."""
        lock, users = self._turns.get(aor, (None, 0))
        lock = lock or asyncio.Lock()
        self._turns[aor] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            left = self._turns[aor][1] - 1
            if left:
                self._turns[aor] = (lock, left)
            else:
                del self._turns[aor]

    async def drop(self, binding: Binding) -> None:
        """A phone said that it is not there (404, 410)."""
        if binding not in self._bindings.get(binding.aor, ()):
            return
        self._drop(binding)
        await self._store.writer.put(stored.save_all, Change(removed=[key_of(binding)]))

    async def disconnected(self, local: str, flow: int) -> None:
        """A connection is closed: its phone can be reached only when it has registered by another (RFC 5626)."""
        for binding in self._flows.get((local, flow), [])[:]:
            await self.drop(binding)

    async def sweep(self, now: float) -> list[Binding]:
        """Remove bindings that are over."""
        over: list[Binding] = []
        while self._expiry and self._expiry[0][0] <= now:
            at, aor = heapq.heappop(self._expiry)
            if self._scheduled.get(aor) != at:
                continue
            del self._scheduled[aor]
            ended = [binding for binding in self._bindings.get(aor, ()) if binding.expires_at <= now]
            for binding in ended:
                self._drop(binding)
            over.extend(ended)
            self._schedule(aor)
        unique = {key_of(binding): binding for binding in over}
        if unique:
            await self._store.writer.put(stored.save_all, Change(removed=list(unique)))
        return list(unique.values())

    async def forget_devices(self, before: float) -> int:
        """Forget phones that have not registered since `before`."""
        old = [
            device
            for known in self._devices.values()
            for device in known
            if device.last_seen < before and device.id not in self._by_device
        ]
        for device in old:
            self._forget(device)
        if old:
            await self._store.writer.put(stored.save_all, Change(forgotten=[device.id for device in old]))
        return len(old)

    def holds_flow(self, local: str, flow: int) -> bool:
        """A registered phone needs this connection."""
        return (local, flow) in self._flows

    def successor(self, binding: Binding) -> tuple[Device, Device] | None:
        """(gone, heir) if the phone behind this binding came back as another device meanwhile."""
        known = self.devices(binding.aor)
        gone = next((device for device in known if device.id == binding.device), None)
        if gone is None:
            return None
        heir = phones.successor(gone, known, {device.id for device in known if device.id in self._by_device})
        return (gone, heir) if heir is not None else None

    async def forget(self, device: Device) -> None:
        self._forget(device)
        await self._store.writer.put(stored.save_all, Change(forgotten=[device.id]))

    async def log_out(self, aor: str) -> list[Binding]:
        """All its phones have to register anew; what was registered. They are remembered, and so is what waits."""
        ended = self._bindings.get(aor, [])[:]
        for binding in ended:
            self._drop(binding)
        await self._store.write(lambda connection: stored.log_out(connection, aor))
        return ended

    async def forget_account(self, aor: str) -> None:
        """The account is gone: so is everything that was kept for it, and what a last REGISTER has just written."""
        for binding in self._bindings.get(aor, [])[:]:
            self._drop(binding)
        self._devices.pop(aor, None)
        await self._store.write(lambda connection: stored.forget_aor(connection, aor))

    # --- inside ---

    async def _new_ids(self, updated: Sequence[Binding]) -> list[int]:
        """Take ids for the phones among these that were never here. Raises Unavailable.

        They must come from the store and are never given out twice: a device's id names the lane of its messages, so a
        second device with the same id would get the first one's.
        """
        ids: list[int] = []
        while (missing := self._most_new(updated) - len(ids)) > 0:
            ids += await self._store.writer.put(stored.take_device_ids, missing)
        return ids

    def _most_new(self, updated: Sequence[Binding]) -> int:
        """How many of these may turn out to be new devices."""
        unknown = [binding for binding in updated if self._find(binding) is None]
        if len(updated) == 1 and unknown and self._inherit(updated[0]) is not None:
            return 0
        return len(unknown)

    def _find(self, binding: Binding) -> Device | None:
        known = self.devices(binding.aor)
        device = next((one for one in known if one.id == binding.device), None) if binding.device else None
        return device or phones.find(binding, known)

    def _inherit(self, binding: Binding) -> Device | None:
        known = self.devices(binding.aor)
        return phones.inherit(binding, known, {device.id for device in known if device.id in self._by_device})

    def _identify(self, binding: Binding, now: float, ids: list[int], forgotten: list[int]) -> Device:
        """The device behind a binding: known, come back under another contact, or new with the next of `ids`."""
        known = self._devices.setdefault(binding.aor, [])
        key, stable = phones.key_of(binding)
        device = self._find(binding) or self._inherit(binding)
        if device is None:
            device = Device(ids.pop(0), binding.aor, key, binding.user_agent, now, now, stable)
            known.append(device)
            forgotten.extend(self._too_many(known))
            return device
        seen = replace(device, key=key, stable=stable, user_agent=binding.user_agent, last_seen=now)
        known[known.index(device)] = seen
        return seen

    def _too_many(self, known: list[Device]) -> list[int]:
        """Phones that make up a new instance at each start must not multiply an account's messages without end."""
        away = sorted((one for one in known if one.id not in self._by_device), key=lambda one: one.last_seen)
        surplus = away[: max(0, len(known) - _MAX_DEVICES)]
        for device in surplus:
            self._forget(device)
        return [device.id for device in surplus]

    def _keep(self, binding: Binding) -> None:
        rows = self._bindings.setdefault(binding.aor, [])
        for row in rows:
            if identity(row) == identity(binding):
                self._forget_flow(row)
        rows[:] = [row for row in rows if identity(row) != identity(binding)]
        rows.append(binding)
        if binding.device and _usable(binding):
            self._by_device[binding.device] = binding
        if binding.flow:
            self._flows.setdefault((binding.local, binding.flow), []).append(binding)
        self._schedule(binding.aor)
        self.on_change(binding.aor)

    def _schedule(self, aor: str) -> None:
        """See to it that the sweep looks at this AOR when its first binding is over."""
        first = min((binding.expires_at for binding in self._bindings.get(aor, ())), default=None)
        if first is not None and first < self._scheduled.get(aor, float("inf")):
            self._scheduled[aor] = first
            heapq.heappush(self._expiry, (first, aor))

    def _drop(self, binding: Binding) -> None:
        rows = self._bindings.get(binding.aor, [])
        for row in rows:
            if identity(row) == identity(binding):
                self._forget_flow(row)
        rows[:] = [row for row in rows if identity(row) != identity(binding)]
        if not rows:
            self._bindings.pop(binding.aor, None)
        if self._by_device.get(binding.device) is binding:
            others = [row for row in rows if row.device == binding.device and _usable(row)]
            if others:
                self._by_device[binding.device] = others[-1]
            else:
                del self._by_device[binding.device]
        self.on_change(binding.aor)

    def _forget_flow(self, binding: Binding) -> None:
        on_it = self._flows.get((binding.local, binding.flow))
        if on_it is not None:
            on_it[:] = [row for row in on_it if row is not binding]
            if not on_it:
                del self._flows[binding.local, binding.flow]

    def _put_back(self, aor: str, rows: list[Binding], known: list[Device]) -> None:
        for binding in self._bindings.get(aor, [])[:]:
            self._drop(binding)
        self._devices[aor] = known
        for binding in rows:
            self._keep(binding)

    def _forget(self, device: Device) -> None:
        known = self._devices.get(device.aor, [])
        known[:] = [one for one in known if one.id != device.id]
        if not known:
            self._devices.pop(device.aor, None)
