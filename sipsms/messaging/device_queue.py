"""Messages that wait for devices: in the lanes of devices, and from before an account's first device.

A message to an account without a known device is `open`: each device that registers before it expires gets a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from sipsms.core import log
from sipsms.core.clock import Clock
from sipsms.core.courier_id import SIP
from sipsms.core.lane_key import LaneKey
from sipsms.core.message import Delivery
from sipsms.core.registration import Device
from sipsms.messaging.location import Location
from sipsms.messaging.planner import Phone
from sipsms.messaging.queue.queue import Queue
from sipsms.store import reassign
from sipsms.store.store import Store


class DeviceQueue:
    def __init__(self, store: Store, location: Location, queue: Queue, clock: Clock) -> None:
        self._store = store
        self._location = location
        self._queue = queue
        self._clock = clock
        self._open: set[str] = set()  # accounts with open messages
        self._adopted: set[int] = set()  # devices that have been given those
        self._removed: dict[int, str] = {}  # devices with their accounts, until nothing of theirs is under way

    async def start(self, accounts: Sequence[str]) -> None:
        """Go on after a restart. `accounts` still have open messages. Raises Unavailable."""
        self._open.update(accounts)
        for account in accounts:
            await self._adopt_all(account)
        await self.take_new()

    def phones(self, account: str, now: float) -> list[Phone]:
        """Return the known devices of an account."""
        return [
            Phone(one.id, self._location.binding_of(one.id, now) is not None and not self._owes(one))
            for one in self._location.devices(account)
        ]

    def planned(self, deliveries: Sequence[Delivery]) -> None:
        """Remember the accounts of open deliveries. Call it before the deliveries are stored."""
        self._open.update(delivery.destination for delivery in deliveries if delivery.open)

    async def reachable(self, device: Device) -> None:
        """A device registered: what waits for it goes out now."""
        lane = LaneKey.of_device(device.id)
        if self._owes(device):
            self._queue.expect(lane)
            count = await self._store.adopt_open(device.aor, device.id, lane, self._clock())
            self._adopted.add(device.id)
            if count:
                log.handed_over(device.aor, count, "first registration")
        self._queue.wake(lane)

    def _owes(self, device: Device) -> bool:
        """Return whether a device must still get what came before any device of its account was known."""
        return device.aor in self._open and device.id not in self._adopted

    async def came_back_as(self, gone: Device, heir: Device) -> bool:
        """The phone behind `gone` registers as `heir` now; what waits for the one is the other's.

        False: an attempt to reach the old one is still out; ask again when it is over.
        """
        lane = LaneKey.of_device(heir.id)
        if self._queue.is_working_on(LaneKey.of_device(gone.id)):
            return False
        self._queue.expect(lane)
        count = await self._store.move_lane(LaneKey.of_device(gone.id), heir.id, lane, self._clock())
        if count:
            log.handed_over(gone.aor, count, "the phone came back under another contact")
            self._queue.wake(lane)
        return True

    async def remove(self, device: int) -> reassign.Ended:
        """Remove a device: what waits for it fails, or waits for the account's next device if it was the last.

        Raises AdminError for an unknown device, and Unavailable."""
        account = await self._store.read(lambda db: reassign.owner_of(db, device))
        async with self._location.turn(account):
            ended = await self._location.remove_device(account, device, self._clock())
            if ended.kept:
                self._open.add(account)
        self._removed[device] = account
        return ended

    async def end_removed(self) -> None:
        """End what was under way to removed devices, and came back to wait. Raises Unavailable."""
        for device, account in list(self._removed.items()):
            lane = LaneKey.of_device(device)
            if self._queue.is_working_on(lane):
                continue
            end = partial(reassign.end_device, account=account, device=device, now=self._clock())
            ended = await self._store.write(end)
            del self._removed[device]
            if ended.kept:
                self._open.add(account)
                await self._adopt_all(account)

    async def take_new(self) -> None:
        """Take over deliveries that another process wrote to the store. Raises Unavailable."""
        found = await self._queue.take_new()
        self.planned(found)
        await self.catch_up(found)

    async def catch_up(self, deliveries: Sequence[Delivery]) -> None:
        """Wake deliveries whose device has registered between the plan and the commit. Raises Unavailable."""
        now = self._clock()
        for delivery in deliveries:
            if delivery.courier != SIP or delivery.due_at is not None:
                continue
            if not delivery.device:
                await self._adopt_all(delivery.destination)
            elif self._location.binding_of(delivery.device, now) is not None:
                self._queue.wake(delivery.lane)

    async def _adopt_all(self, account: str) -> None:
        """Every device of the account that is known by now gets what came before the first."""
        for device in list(self._location.devices(account)):
            self._adopted.discard(device.id)
            await self.reachable(device)
