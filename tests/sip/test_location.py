"""The location service: memory first, store always, and nothing half done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sipsms.core.errors import Unavailable
from sipsms.core.flow_address import FlowAddress
from sipsms.core.registration import Binding
from sipsms.sip.location import Location
from tests.support.messaging.core import Core, core


def _binding(here: Core, contact: str, **values: Any) -> Binding:
    given = {
        "expires_at": here.clock.now + 3600,
        "received": FlowAddress("udp:192.0.2.1:5060"),
        "call_id": "c",
        "cseq": 1,
        **values,
    }
    return Binding("alice", contact, **given)


async def _apply(here: Core, *bindings: Binding, removed: tuple[Binding, ...] = ()) -> list[Any]:
    return await here.location.apply("alice", bindings, removed, here.clock.now)


@pytest.mark.req("C-059")
async def test_a_failed_commit_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with core(tmp_path, {}) as here:
        (first,) = await _apply(here, _binding(here, "sip:a@h:1", params=(("ob", None),)))

        def broken(*_: Any) -> Any:
            raise Unavailable("full")

        monkeypatch.setattr(here.store.writer, "put", broken)
        old = here.location.bindings("alice", here.clock.now)[0]
        with pytest.raises(Unavailable):
            await _apply(here, _binding(here, "sip:a@h:2"), removed=(old,))
        assert [one.contact for one in here.location.bindings("alice", here.clock.now)] == ["sip:a@h:1"]
        assert here.location.binding_of(first.id, here.clock.now) is old
        assert [one.id for one in here.location.devices("alice")] == [first.id]


async def test_a_restart_keeps_live_bindings(tmp_path: Path) -> None:
    async with core(tmp_path, {}) as here:
        alive = _binding(
            here, "sip:a@h:1", path=("<sip:p;lr>",), params=(("+sip.instance", "<urn:uuid:1>"), ("ob", None)),
            instance="<urn:uuid:1>", reg_id=1, q=0.5, user_agent="phone/1", accept="text/plain", to_uri="sip:alice@h",
        )  # fmt: skip
        over = _binding(here, "sip:a@h:2", expires_at=here.clock.now - 1)
        stream = _binding(
            here, "sip:a@h:3", received=FlowAddress("tcp:192.0.2.1:40000"), local="tcp:0.0.0.0:5060", flow=7
        )
        reached = await _apply(here, alive, over, stream)
    async with core(tmp_path, {}) as here:
        found = {one.contact: one for one in here.location.bindings("alice", here.clock.now)}
        assert set(found) == {"sip:a@h:1", "sip:a@h:3"}
        assert found["sip:a@h:1"] == alive
        assert here.location.binding_of(reached[0].id, here.clock.now) == alive
        assert here.location.binding_of(reached[2].id, here.clock.now) is None  # its connection is gone
        assert len(here.location.devices("alice")) == 3


@pytest.mark.req("C-063")
async def test_the_sweep_removes_expired_bindings(tmp_path: Path) -> None:
    async with core(tmp_path, {}) as here:
        short = _binding(here, "sip:a@h:1", expires_at=here.clock.now + 60)
        await _apply(here, short, _binding(here, "sip:a@h:2"))
        assert await here.location.sweep(here.clock.now + 59) == []
        assert await here.location.sweep(here.clock.now + 60) == [short]
        assert await here.location.sweep(here.clock.now + 61) == []
        assert await here.rows("SELECT contact FROM bindings") == [("sip:a@h:2",)]
        assert len(await here.location.sweep(here.clock.now + 4000)) == 1
        assert len(here.location) == 0


async def test_many_refreshes_leave_one_entry_to_sweep(tmp_path: Path) -> None:
    async with core(tmp_path, {}) as here:
        for step in range(50):
            here.clock.now += 1
            await _apply(here, _binding(here, "sip:a@h:1", cseq=step + 2))
        assert len(here.location._expiry) <= 2
        assert await here.location.sweep(here.clock.now + 3599) == []
        assert len(await here.location.sweep(here.clock.now + 3600)) == 1


@pytest.mark.req("C-065h")
async def test_a_closed_connection_ends_its_bindings_only(tmp_path: Path) -> None:
    async with core(tmp_path, {}) as here:
        stream = {"received": FlowAddress("tcp:192.0.2.1:40000"), "local": "tcp:0.0.0.0:5060"}
        await _apply(here, _binding(here, "sip:a@h:1", flow=7, **stream), _binding(here, "sip:a@h:2", flow=8, **stream))
        assert here.location.holds_flow("tcp:0.0.0.0:5060", 7)
        await here.location.disconnected("tcp:0.0.0.0:5060", 7)
        assert [one.contact for one in here.location.bindings("alice", here.clock.now)] == ["sip:a@h:2"]
        assert not here.location.holds_flow("tcp:0.0.0.0:5060", 7)
        assert await here.rows("SELECT contact FROM bindings") == [("sip:a@h:2",)]


async def test_devices_without_binding_are_forgotten_after_a_while(tmp_path: Path) -> None:
    async with core(tmp_path, {}) as here:
        (first,) = await _apply(here, _binding(here, "sip:a@h:1", instance="<urn:uuid:1>"))
        await _apply(here, removed=tuple(here.location.bindings("alice", here.clock.now)))
        here.clock.now += 1000
        (second,) = await _apply(here, _binding(here, "sip:a@h:2", instance="<urn:uuid:2>"))
        assert await here.location.forget_devices(here.clock.now - 500) == 1
        assert [one.id for one in here.location.devices("alice")] == [second.id]
        assert await here.rows("SELECT id FROM devices") == [(second.id,)]
        assert first.id != second.id


@pytest.mark.req("I1")
async def test_the_id_of_a_forgotten_device_is_never_reused(tmp_path: Path) -> None:
    """Deliveries in its lane may still be in the store: whoever had its id would get them."""
    async with core(tmp_path, {}) as here:
        (first,) = await _apply(here, _binding(here, "sip:a@h:1", instance="<urn:uuid:1>"))
        await here.location.log_out("alice")
        await here.location.forget(first)
    async with core(tmp_path, {}) as here:
        (second,) = await _apply(here, _binding(here, "sip:a@h:1", instance="<urn:uuid:1>"))
        assert second.id > first.id


@pytest.mark.req("I1")
async def test_a_location_service_that_was_not_loaded_gives_new_ids(tmp_path: Path) -> None:
    """Ids come from the store: memory may be empty, or another's."""
    async with core(tmp_path, {}) as here:
        (first,) = await _apply(here, _binding(here, "sip:a@h:1", instance="<urn:uuid:1>"))
        empty = Location(here.store)
        other = Binding(
            "bob",
            "sip:b@h:1",
            here.clock.now + 3600,
            "c",
            1,
            FlowAddress("udp:192.0.2.2:5060"),
            instance="<urn:uuid:2>",
        )
        (second,) = await empty.apply("bob", [other], [], here.clock.now)
        assert second.id != first.id
        rows = await here.rows("SELECT id, aor FROM devices ORDER BY id")
        assert [tuple(row) for row in rows] == [(first.id, "alice"), (second.id, "bob")]


async def test_several_new_devices_of_one_request_have_separate_ids(tmp_path: Path) -> None:
    async with core(tmp_path, {}) as here:
        given = [_binding(here, f"sip:a@h:{n}", instance=f"<urn:uuid:{n}>") for n in range(5)]
        found = await _apply(here, *given)
        assert len({one.id for one in found}) == 5
        again = await _apply(here, *given, _binding(here, "sip:a@h:9", instance="<urn:uuid:9>"))
        assert [one.id for one in again[:5]] == [one.id for one in found]
