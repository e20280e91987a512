"""Messages to and from a DID on the real core: the shortest calls for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sipsms.core.account import Account, Did
from sipsms.core.flow_address import FlowAddress
from sipsms.core.refusal import Refusal
from sipsms.core.registration import Binding
from sipsms.messaging.carrier import InboundSms
from sipsms.messaging.carrier_options import CarrierOptions, apply
from sipsms.messaging.gateway import Receipt
from sipsms.messaging.inbound import carrier_key
from sipsms.messaging.order import Sent
from tests.support.messaging.core import Core

ALICE = Account("alice", "demo")
DID, PHONE = "5550001111", "2125550123"
DELIVERIES = "SELECT courier, destination, state FROM deliveries ORDER BY courier, destination"
SIM = "carrier:sim"


def with_did(**values: Any) -> Callable[[Core], None]:
    def prepare(here: Core) -> None:
        did = Did(DID, "demo", **{"sip_account": "", **values})
        here.directory.update(2, False, [], [did], frozenset())

    return prepare


async def arrive(here: Core, text: str = "hello", source: str = PHONE, to: str = DID, **values: Any) -> Receipt:
    remote_id = values.get("remote_id", "")
    sms = InboundSms(source, to, text, **values)
    key = None if "part" in values else carrier_key("c", remote_id)
    result = await here.messaging.inbound.receive(sms, "hook:c", key)
    assert isinstance(result, Receipt)
    return result


async def send(here: Core, text: str = "hi", to: str = PHONE, **values: Any) -> Sent | Refusal:
    return await here.send(ALICE, DID, to, text, "test", **values)


async def accepted(here: Core, text: str = "hi", to: str = PHONE, **values: Any) -> Sent:
    result = await send(here, text, to, **values)
    assert isinstance(result, Sent)
    return result


def set_options(here: Core, **carriers: CarrierOptions) -> None:
    """Carriers with these settings, as after a reload."""
    apply(carriers, here.messaging.limits)


async def register(here: Core, contact: str, **values: Any) -> int:
    """Register a phone of alice as the SIP server does, and return the id of its device."""
    flow = {"received": FlowAddress("udp:192.0.2.1:5060"), "user_agent": "phone/1", **values}
    binding = Binding("alice", contact, here.clock.now + 3600, "c", 1, **flow)
    async with here.location.turn("alice"):
        (device,) = await here.location.apply("alice", [binding], [], here.clock.now)
    await here.messaging.devices.reachable(device)
    return int(device.id)
