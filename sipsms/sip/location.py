"""Location service (RFC 3261 section 10): bindings in memory, written through to the store.

Lookups never leave memory. A change is applied in memory at once, in the order of the REGISTERs, and acknowledged only
after it is committed. If the commit fails, the AOR's bindings are restored. Devices outlive their bindings: a phone
that was away for days must still get its messages.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from sipsms.core.registration import Binding, Device, identity
from sipsms.sip import device_identity
from sipsms.store import bindings as stored
from sipsms.store.bindings import Change, key_of
from sipsms.store.reassign import Ended, remove_device
from sipsms.store.store import Store

_MAX_DEVICES = 40  # of one account, registered or remembered


def _usable(binding: Binding) -> bool:
    """Return True if the binding has a flow: always for UDP, else while the connection is open."""
    return bool(binding.flow) or binding.received.transport == "udp"


class Location:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._bindings: dict[str, list[Binding]] = {}
        self._devices: dict[str, list[Device]] = {}
        self._by_device: dict[int, Binding] = {}
        self._flows: dict[tuple[str, int], list[Binding]] = {}  # of streams
        self._expiry: list[tuple[float, str]] = []  # heap; only the AOR's entry named in _scheduled is valid
        self._scheduled: dict[str, float] = {}
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}
        self.on_change: Callable[[str], None] = lambda aor: None  # called when an AOR's bindings change

    def __len__(self) -> int:
        return sum(map(len, self._bindings.values()))

    async def load(self, now: float, aor: str = "") -> int:
        """Load the registrations of one AOR, or of all; return the number of live bindings."""
        found, known = await self._store.read(lambda connection: stored.load(connection, now, aor))
        for device in known:
            self._devices.setdefault(device.aor, []).append(device)
        for binding in found:
            binding.flow = 0  # connections do not survive a restart; the phone opens a new one
            self._keep(binding)
        return len(found)

    # --- lookups ---

    def hosts(self) -> set[str]:
        """Return the addresses that phones are registered from."""
        return {binding.received.host for bindings in self._bindings.values() for binding in bindings}

    def bindings(self, aor: str, now: float) -> list[Binding]:
        """Return the live bindings of an AOR."""
        return [binding for binding in self._bindings.get(aor, ()) if binding.expires_at > now]

    def devices(self, aor: str) -> list[Device]:
        return self._devices.get(aor, [])

    def binding_of(self, device: int, now: float) -> Binding | None:
        """Return the newest live binding of a device, or None."""
        binding = self._by_device.get(device)
        return binding if binding is not None and binding.expires_at > now else None

    def device_of_instance(self, aor: str, instance: str) -> int:
        """Return the id of the AOR's device with this instance; 0 if there is none."""
        return next((one.id for one in self.devices(aor) if one.stable and one.key.strip("<>") == instance), 0)

    def on_flow(self, received: str, local: str, number: int, now: float) -> list[Binding]:
        """Return the live bindings of a stream flow."""
        if number:
            return [one for one in self._flows.get((local, number), ()) if one.expires_at > now]
        return []

    def ways(self, device: int, now: float) -> list[Binding]:
        """Return the live bindings of a device, newest first."""
        newest = self.binding_of(device, now)
        if newest is None:
            return []
        others = self.bindings(newest.aor, now)
        return [newest, *(one for one in reversed(others) if one.device == device and one is not newest)]

    # --- changes ---

    async def apply(self, aor: str, updated: Sequence[Binding], removed: Sequence[Binding], now: float) -> list[Device]:
        """Apply the registrar's changes and return the updated devices.

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
        """Serialize changes to one AOR: each change sees the result of the change before."""
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
        """Remove the binding of a phone that answered 404 or 410."""
        if binding not in self._bindings.get(binding.aor, ()):
            return
        self._drop(binding)
        await self._store.writer.put(stored.save_all, Change(removed=[key_of(binding)]))

    async def disconnected(self, local: str, flow: int) -> None:
        """Remove the bindings of a closed connection (RFC 5626).

        Their phones are reachable again when they register by another connection.
        """
        for binding in self._flows.get((local, flow), [])[:]:
            await self.drop(binding)

    async def sweep(self, now: float) -> list[Binding]:
        """Remove and return the expired bindings."""
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
        """Forget devices without a binding that have not registered since `before`; return their number."""
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
        """Return True if a registered phone needs this connection."""
        return (local, flow) in self._flows

    def successor(self, binding: Binding) -> tuple[Device, Device] | None:
        """Return (gone, heir) if the phone of this binding has registered as another device; else None."""
        known = self.devices(binding.aor)
        gone = next((device for device in known if device.id == binding.device), None)
        if gone is None:
            return None
        heir = device_identity.successor(gone, known, {device.id for device in known if device.id in self._by_device})
        return (gone, heir) if heir is not None else None

    async def forget(self, device: Device) -> None:
        self._forget(device)
        await self._store.writer.put(stored.save_all, Change(forgotten=[device.id]))

    async def log_out(self, aor: str) -> list[Binding]:
        """Remove and return all bindings of an AOR.

        Its phones must register anew. Devices and waiting deliveries are kept.
        """
        ended = self._bindings.get(aor, [])[:]
        for binding in ended:
            self._drop(binding)
        await self._store.write(lambda connection: stored.log_out(connection, aor))
        return ended

    async def forget_account(self, aor: str) -> None:
        """Remove all bindings and devices of a deleted account.

        The rows of a last REGISTER in progress are removed, too.
        """
        for binding in self._bindings.get(aor, [])[:]:
            self._drop(binding)
        self._devices.pop(aor, None)
        await self._store.write(lambda connection: stored.forget_aor(connection, aor))

    async def remove_device(self, aor: str, device: int, now: float) -> Ended:
        """Remove a device with its bindings, and end what waits for it. Call it in the AOR's `turn`.

        Memory changes first, so that no message is planned for the device after the commit. Raises Unavailable, with
        nothing changed."""
        before = list(self._bindings.get(aor, ())), list(self._devices.get(aor, ()))
        for binding in before[0]:
            if binding.device == device:
                self._drop(binding)
        for known in before[1]:
            if known.id == device:
                self._forget(known)
        try:
            return await self._store.write(lambda connection: remove_device(connection, aor, device, now))
        except Exception:
            self._put_back(aor, *before)
            raise

    # --- inside ---

    async def _new_ids(self, updated: Sequence[Binding]) -> list[int]:
        """Reserve ids for the new devices among these bindings. Raises Unavailable.

        Ids must come from the store and must never be reused. A device's id names the lane of its deliveries, so a
        second device with the same id would get the deliveries of the first device.
        """
        ids: list[int] = []
        while (missing := self._most_new(updated) - len(ids)) > 0:
            ids += await self._store.writer.put(stored.take_device_ids, missing)
        return ids

    def _most_new(self, updated: Sequence[Binding]) -> int:
        """Return how many of these bindings may belong to new devices."""
        unknown = [binding for binding in updated if self._find(binding) is None]
        if len(updated) == 1 and unknown and self._inherit(updated[0]) is not None:
            return 0
        return len(unknown)

    def _find(self, binding: Binding) -> Device | None:
        known = self.devices(binding.aor)
        device = next((one for one in known if one.id == binding.device), None) if binding.device else None
        return device or device_identity.find(binding, known)

    def _inherit(self, binding: Binding) -> Device | None:
        known = self.devices(binding.aor)
        return device_identity.inherit(binding, known, {device.id for device in known if device.id in self._by_device})

    def _identify(self, binding: Binding, now: float, ids: list[int], forgotten: list[int]) -> Device:
        """Return the device of a binding: known, inherited, or new with the next of `ids`.

        Ids of surplus devices are added to `forgotten`.
        """
        known = self._devices.setdefault(binding.aor, [])
        key, stable = device_identity.key_of(binding)
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
        """Forget surplus devices without a binding, and return their ids.

        Phones that send a new instance at each start must not multiply an account's deliveries without limit.
        """
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
        """Schedule a sweep of this AOR for the time when its first binding expires."""
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
        """Restore the bindings and devices of an AOR after a failed commit."""
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
