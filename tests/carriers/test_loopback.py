"""The carrier that ends in this process."""

from __future__ import annotations

import pytest

from sipsms.carriers.loopback import LoopbackCarrier
from sipsms.core.message import Accepted, Delivered, Delivery, Direction, Media, Message
from sipsms.messaging.carrier import Carrier, HookError, HookRequest, InboundSms

MESSAGE = Message(Direction.OUT, "4165550000", "5551234567", "héllo", "sip", 0.0, account="alice", did="4165550000")
DELIVERY = Delivery(MESSAGE, "carrier:sim", "5551234567", "4165550000", "lane", 1e9, 0.0, id=7)


class Gateway:
    def __init__(self, *ours: str) -> None:
        self.ours = ours
        self.received: list[InboundSms] = []

    async def receive(self, sms: InboundSms, media: tuple[Media, ...]) -> bool:
        self.received.append(sms)
        self.media = media
        return sms.destination in self.ours


async def test_a_message_to_an_own_did_comes_back_in() -> None:
    gateway = Gateway("5551234567")
    carrier: Carrier = LoopbackCarrier("sim", gateway.receive)
    assert await carrier.send(DELIVERY) == Accepted("sim-7")
    assert gateway.received == [InboundSms("4165550000", "5551234567", "héllo", "sim-7")]


async def test_media_come_back_too() -> None:
    gateway, picture = Gateway("5551234567"), Media("image/png", "a.png", 70, "t" * 32)
    await LoopbackCarrier("sim", gateway.receive).send(DELIVERY._replace(message=MESSAGE._replace(media=(picture,))))
    assert gateway.media == (picture,)


async def test_any_other_number_acts_as_a_handset() -> None:
    gateway = Gateway()
    assert await LoopbackCarrier("sim", gateway.receive).send(DELIVERY) == Delivered("simulated handset")
    assert len(gateway.received) == 1


def test_the_loopback_carrier_has_no_hook() -> None:
    carrier = LoopbackCarrier("sim", Gateway().receive)
    assert carrier.secret == ""
    with pytest.raises(HookError) as caught:
        carrier.parse(HookRequest("POST", {}, {}, b""))
    assert caught.value.status == 404
