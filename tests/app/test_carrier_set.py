"""Carriers of the configuration. (messaging/test_opt_out sends by their couriers.)"""

from __future__ import annotations

from typing import Any

import pytest

from sipsms.app.carrier_set import CarrierSet, limits_of
from sipsms.app.settings import Config
from sipsms.carriers.loopback import LoopbackCarrier
from sipsms.messaging.base_carrier import BaseCarrier
from sipsms.messaging.carrier_options import CarrierOptions
from sipsms.messaging.planner import Limits
from sipsms.messaging.queue.courier_state import CourierLimits


class World:
    """Messaging with its queue, trunks and SMSCs."""

    def __init__(self) -> None:
        self.limits = Limits(1.0)
        self.couriers: dict[str, CourierLimits] = {}
        self.kept: list[list[str]] = []
        me: Any = self
        self.queue = self.consent = me
        self.carriers = CarrierSet(me, me, me, lambda: 0.0, me, me)

    def set_courier(self, name: str, courier: Any, limits: CourierLimits) -> None:
        self.couriers[name] = limits

    def remove_courier(self, name: str) -> None:
        del self.couriers[name]

    def keep(self, names: Any) -> None:
        self.kept.append(list(names))

    def configure(self, *names: str) -> None:
        carriers = {name: {"type": "loopback", "max_text": 160} for name in names}
        self.carriers.configure(Config.model_validate({"domain": "sms.example.net", "carriers": carriers}))


def test_a_reload_adds_and_removes_carriers() -> None:
    world = World()
    world.configure("one", "two")
    assert world.couriers.keys() == world.limits.texts.keys() == {"carrier:one", "carrier:two"}
    by_name = world.carriers.by_name
    world.configure("two", "three")
    assert world.couriers.keys() == {"carrier:two", "carrier:three"}
    assert by_name.keys() == {"two", "three"}, "the hooks see the new carriers"
    assert world.limits.texts.keys() == {"carrier:two", "carrier:three"}
    assert world.kept == [["one", "two"]] * 2 + [["two", "three"]] * 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, CourierLimits(32, breaker=True)), ({"concurrency": 5, "rate": "2/s"}, CourierLimits(5, 2.0, breaker=True))],
)
def test_the_options_of_a_carrier_give_its_limits(options: dict[str, Any], expected: CourierLimits) -> None:
    assert limits_of(LoopbackCarrier("one", None), CarrierOptions.model_validate(options), 32) == expected  # type: ignore[arg-type]


def test_carriers_that_drop_duplicates_are_idempotent() -> None:
    class Drops(BaseCarrier):
        drops_duplicates = True  # type: ignore[assignment]

    carriers: Any = World().carriers
    carriers.by_name.update(one=BaseCarrier("one"), two=Drops("two"))
    assert carriers.idempotent() == ["carrier:two"]
    assert carriers.media_headers("hook:gone", "https://example.net") == {}
