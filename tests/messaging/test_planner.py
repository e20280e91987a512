"""The planner: deliveries of each kind of message, and old against new."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sipsms.core.account import Account
from sipsms.core.courier_id import APP, CALLBACK, FORWARD, MAIL, SIP, SMPP, WEBHOOK, CourierId
from sipsms.core.message import Direction, Media, Message, MessageKind, Route
from sipsms.core.registration import Device
from sipsms.messaging import carrier_options, gateway, planner
from sipsms.messaging.carrier_options import CarrierOptions
from sipsms.messaging.gateway import Gateway
from sipsms.messaging.planner import Facts, Limits, Phone

NOW = 1_000_000.0
CARRIERS = [CourierId.of_carrier(name) for name in "abc"]
TIMES = st.none() | st.floats(NOW - 10, NOW + 1e6) | st.just(0.0)
NAMES = st.sampled_from(["alice", "bob"])
MESSAGES = st.builds(
    Message, st.sampled_from(Direction), st.sampled_from(["2125550123", "5550001111"]),
    st.sampled_from(["5550001111", "alice"]), st.text(max_size=400) | st.text("ab ", min_size=150, max_size=500),
    st.just("t"), st.just(1.0), NAMES, st.sampled_from(["", "5550001111"]), TIMES, st.none() | st.binary(max_size=4),
    kind=st.sampled_from(MessageKind), device=st.integers(0, 3),
    media=st.sampled_from([(), (Media(token="t"),), (Media(url="u"),)]),
)  # fmt: skip
ROUTES = st.lists(
    st.builds(Route, st.sampled_from([SIP, MAIL, CALLBACK, WEBHOOK, SMPP, FORWARD, APP]), NAMES, st.just("s"))
)
WAYS = st.lists(st.sampled_from(CARRIERS), unique=True, min_size=1)
OPTIONS = st.builds(
    CarrierOptions.model_construct, max_text=st.sampled_from([0, 70, 160]), mms=st.booleans(),
    text_unit=st.sampled_from(["characters", "septets", "segments"]), long_texts=st.sampled_from(["split", "mms"]),
)  # fmt: skip
DEVICES = st.dictionaries(NAMES, st.lists(st.tuples(st.integers(1, 3), st.booleans(), st.booleans()), unique=True))


def _old(options: Any, devices: Any, apps: Any, away: Any, limits: Limits, opened: Any) -> Gateway:
    """A gateway whose surroundings say what the facts say."""
    found = {name: [Device(one, name, "", "", 0, 0, True) for one, _, _ in all_] for name, all_ in devices.items()}
    bound = {one for all_ in devices.values() for one, is_bound, _ in all_ if is_bound}
    old = object.__new__(Gateway)
    old._queue = SimpleNamespace(is_away=away.__contains__)  # type: ignore[assignment]
    old._directory = SimpleNamespace(  # type: ignore[assignment]
        account=lambda name: Account(name, app_messages=True) if name in apps else None
    )
    old._location = SimpleNamespace(  # type: ignore[assignment]
        devices=lambda name: found.get(name, []), binding_of=lambda one, now: one if one in bound else None
    )
    old._open, old._adopted = set(opened), {one for all_ in devices.values() for one, _, adopted in all_ if adopted}
    old.limits, old.patience, old.keep = options, limits.patience, limits.keep  # type: ignore[assignment]
    old._clock = lambda: NOW
    return old


@settings(max_examples=2000, deadline=None)
@given(
    MESSAGES, ROUTES, WAYS, DEVICES, st.sets(NAMES), st.sets(st.sampled_from(CARRIERS)), st.sets(NAMES),
    st.dictionaries(st.sampled_from(CARRIERS), OPTIONS), st.floats(NOW, NOW + 1e6), st.floats(1, 1e6),
)  # fmt: skip
def test_new_and_old_plan_the_same(
    message: Any, others: Any, ways: Any, devices: Any, apps: Any, away: Any, opened: Any, options: Any, due_at: float,
    keep: float,
) -> None:  # fmt: skip
    outgoing = message.direction is Direction.OUT and message.did
    routes = [Route(way, message.destination, message.source) for way in ways] if outgoing else others
    limits = Limits(keep)
    carrier_options.apply({name.carrier: one for name, one in options.items()}, limits)
    old = _old(options, devices, apps, away, limits, opened)
    expected = old._planned(message, routes, NOW)
    bound = {one for all_ in devices.values() for one, is_bound, _ in all_ if is_bound}
    adopted = {one for all_ in devices.values() for one, _, is_adopted in all_ if is_adopted}
    phones = {
        name: [
            Phone(one, one in bound and (name not in opened or one in adopted)) for one, _, _ in devices.get(name, [])
        ]
        for name in ("alice", "bob")
    }
    got = planner.plan(message, routes, Facts(NOW, phones, apps, away), limits)
    assert got == expected
    assert [planner.held(one, due_at) for one in got] == [gateway._held(one, due_at) for one in expected]
    account = Account(message.account)
    mine = [phone for phone in phones[message.account] if phone.device != message.device]
    assert planner.copies(message, mine, NOW, limits) == old.copies(account, message.device, message)
