"""A store in memory for tests of the queue, whose operations happen when the test says so, and in its order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sipsms.core.errors import Unavailable
from sipsms.core.message import Delivery, State
from sipsms.core.queue_rows import Closing, Due, DueLane

OPEN = (State.QUEUED, State.SENDING)


class Operation:
    """One operation under way. It is performed first, and its caller hears of it later."""

    def __init__(self, name: str, effect: Callable[[], Any], *, writes: bool) -> None:
        self.name, self.writes, self._effect = name, writes, effect
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.is_done = False

    def perform(self) -> None:
        self._result, self.is_done = self._effect(), True

    def answer(self) -> None:
        if not self.future.done():
            self.future.set_result(self._result)

    def fail(self) -> None:
        if not self.future.done():
            self.future.set_exception(Unavailable("away"))


class ModelStore:
    def __init__(self) -> None:
        self.rows: dict[int, Delivery] = {}
        self.operations: list[Operation] = []

    def queued(self) -> list[Delivery]:
        return [row for row in self.rows.values() if row.state is State.QUEUED]

    def of_lane(self, lane: str) -> list[Delivery]:
        """The open deliveries of a lane, in order."""
        return [row for row in self.rows.values() if row.lane == lane and row.state in OPEN]

    def step(self, choice: int, *, fails: bool = False) -> None:
        """Take an operation one step further. Writes are performed, and those of a kind answered, in their order."""
        if not self.operations:
            return
        chosen = self.operations[choice % len(self.operations)]
        if not chosen.is_done and chosen.writes:
            chosen = next(one for one in self.operations if one.writes and not one.is_done)
        if chosen.is_done and chosen.writes:
            chosen = next(one for one in self.operations if one.name == chosen.name)
        if chosen.is_done:
            chosen.answer()
        elif fails and chosen.name != "finish":
            chosen.fail()
        else:
            chosen.perform()
        self.operations = [one for one in self.operations if not one.future.done()]

    async def _ask(self, effect: Callable[[], Any], name: str, *, writes: bool = True) -> Any:
        operation = Operation(name, effect, writes=writes)
        self.operations.append(operation)
        return await operation.future

    async def accept(self, new: Iterable[Delivery]) -> list[Delivery]:
        def effect() -> list[Delivery]:
            added = []
            for delivery in new:
                row = delivery._replace(id=len(self.rows) + 1)
                self.rows[row.id] = row
                added.append(row)
            return added

        stored: list[Delivery] = await self._ask(effect, "accept")
        return stored

    async def begin(self, delivery: Delivery, now: float) -> bool:
        def effect() -> bool:
            row = self.rows[delivery.id]
            if row.state is not State.QUEUED or row.attempts != delivery.attempts:
                return False
            self.rows[row.id] = row._replace(state=State.SENDING, attempts=row.attempts + 1)
            return True

        begun: bool = await self._ask(effect, "begin")
        return begun

    async def finish(self, closing: Closing) -> State:
        def effect() -> State:
            row = self.rows[closing.delivery_id]
            row = row._replace(state=closing.state, due_at=closing.due_at, attempts=closing.number - closing.untried)
            self.rows[row.id] = _moved(row, closing)
            return closing.state

        state: State = await self._ask(effect, "finish")
        return state

    async def divert(self, delivery: Delivery, closing: Closing) -> bool:
        def effect() -> bool:
            row = self.rows[delivery.id]
            if row.state is not State.QUEUED or row.attempts != delivery.attempts:
                return False
            self.rows[row.id] = _moved(row, closing)._replace(due_at=closing.due_at)
            return True

        moved: bool = await self._ask(effect, "divert")
        return moved

    async def load_lane(self, lane: str, limit: int, now: float) -> list[Delivery]:
        rows: list[Delivery] = await self._ask(
            lambda: [row for row in self.of_lane(lane)[:limit] if row.state is State.QUEUED], "load", writes=False
        )
        return rows

    async def waiting_lanes(self) -> list[str]:
        lanes: list[str] = await self._ask(lambda: sorted({row.lane for row in self.queued()}), "lanes", writes=False)
        return lanes

    async def make_due(self, lanes: Sequence[str], now: float) -> None:
        def effect() -> None:
            for lane in lanes:
                for row in [row for row in self.of_lane(lane) if row.state is State.QUEUED][:1]:
                    self.rows[row.id] = row._replace(due_at=now)

        await self._ask(effect, "make_due")

    async def hold_back(self, lane: str, until: float | None) -> None:
        def effect() -> None:
            for row in self.of_lane(lane):
                if row.state is State.QUEUED and row.due_at is not None and (until is None or row.due_at < until):
                    self.rows[row.id] = row._replace(due_at=until)

        await self._ask(effect, "hold_back")

    async def due(
        self, courier: str, now: float, limit: int, after: tuple[float, int] | None = None, *, movable: bool = False
    ) -> Due:
        def effect() -> Due:
            mine = [row for row in self.queued() if row.courier == courier and row.due_at is not None]
            rows = sorted((row.due_at or 0.0, row.id) for row in mine if (row.due_at or 0.0) <= now)
            rows = [key for key in rows if after is None or key > after][:limit]
            found: dict[str, list[Delivery]] = {}
            for _, key in rows:
                if self.rows[key].others or not movable:
                    found.setdefault(self.rows[key].lane, []).append(self.rows[key])
            later = min((row.due_at for row in mine if row.due_at is not None and row.due_at > now), default=None)
            lanes = [self._due_lane(lane, group) for lane, group in found.items()]
            return Due(lanes, rows[-1] if len(rows) >= limit else None, later)

        due: Due = await self._ask(effect, "due", writes=False)
        return due

    def _due_lane(self, lane: str, group: list[Delivery]) -> DueLane:
        group.sort(key=lambda row: row.id)
        rows = self.of_lane(lane)
        if rows[0].id != group[0].id:
            return DueLane(lane, (), True)
        return DueLane(lane, group, False) if len(rows) == len(group) else DueLane(lane, group[:1], True)

    async def expire(self, now: float, limit: int) -> list[Delivery]:
        return []

    async def recover(self, idempotent: Sequence[str], now: float, *, own: bool) -> tuple[int, int]:
        return 0, 0


def _moved(row: Delivery, closing: Closing) -> Delivery:
    if closing.moved is None:
        return row
    courier, lane, others = closing.moved
    return row._replace(courier=courier, lane=lane, others=others)  # type: ignore[arg-type]
