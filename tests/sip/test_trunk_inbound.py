"""Requests to a trunk's Contact, without sockets: whom they are for, segments, and refusals."""

from __future__ import annotations

from typing import Any

import pytest

from sipsms.core.errors import Unavailable
from sipsms.core.refusal import Refusal, RefusalCode
from sipsms.messaging.carrier import InboundSms, Part
from sipsms.messaging.settings import MessageSettings
from sipsms.sip.endpoint import Answer
from sipsms.sip.message import parse_datagram
from sipsms.sip.rules import SipRules
from sipsms.sip.settings import SipSettings
from sipsms.sip.trunk_inbound import TrunkInbound
from sipsms.sip.trunk_settings import SipConfig

RULES = SipRules("sms.example.net", [], SipSettings(), MessageSettings())
TOKEN = "trunk-0123"


class World:
    """Inbound, and the transport of a trunk."""

    def __init__(self, *dids: str) -> None:
        self.result: Any = object()
        self.taken: list[tuple[InboundSms, str, bytes]] = []
        self.keys: set[bytes] = set()
        self.is_server = True
        self.now = 7200.0
        config = SipConfig.model_validate(
            {"type": "sip", "server": "up.example", "username": "100", "password": "pw", "dids": dids}
        )
        me: Any = self
        self.inbound = TrunkInbound("up", config, TOKEN, me, me, lambda: RULES, lambda: self.now)

    def is_from(self, flow: Any) -> bool:
        return self.is_server

    async def receive(self, sms: InboundSms, origin: str, key: bytes) -> Any:
        self.taken.append((sms, origin, key))
        self.keys.add(key)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    async def is_stored(self, key: bytes) -> bool:
        return key in self.keys

    async def take(self, text: str = "hello", to: str = TOKEN, *headers: str) -> int:
        lines = [
            f"MESSAGE sip:{TOKEN}@192.0.2.1 SIP/2.0", "Via: SIP/2.0/UDP up.example;branch=z9hG4bKx",
            "From: <sip:2125550123@up.example>;tag=a", f"To: <sip:{to}@up.example>", "Call-ID: long.2@up.example",
            "CSeq: 1 MESSAGE", "Content-Type: text/plain", *headers, f"Content-Length: {len(text)}", "", text,
        ]  # fmt: skip
        request: Any = parse_datagram("\r\n".join(lines).encode())
        work: Any = self.inbound.admit(request, None)  # type: ignore[arg-type]
        answer: Answer = work if isinstance(work, Answer) else await work
        return answer.status


@pytest.mark.parametrize(
    ("dids", "to", "headers", "status", "destination"),
    [
        (["5550010001"], TOKEN, [], 200, "5550010001"),
        (["5550010001", "5550010002"], TOKEN, [], 488, ""),
        (["5550010001", "5550010002"], "15550010002", [], 200, "5550010002"),
        ([], TOKEN, ["X-SMS-To: 5550010003"], 200, "5550010003"),
        (["5550010001"], "15550010002", [], 488, ""),
    ],
)
async def test_the_destination_is_the_did_of_the_request(
    dids: list[str], to: str, headers: list[str], status: int, destination: str
) -> None:
    world = World(*dids)
    assert await world.take("hello", to, *headers) == status
    assert [sms.destination for sms, _, _ in world.taken] == ([destination] if destination else [])


@pytest.mark.parametrize(
    ("result", "status"),
    [(None, 488), (Refusal(RefusalCode.POLICY, "no"), 488), (Unavailable("full"), 503), (object(), 200)],
)
async def test_each_result_gives_its_response(result: Any, status: int) -> None:
    world = World("5550010001")
    world.result = result
    assert await world.take() == status


async def test_a_stranger_gets_503() -> None:
    world = World("5550010001")
    world.is_server = False
    assert await world.take() == 503
    assert world.taken == []


async def test_a_segment_has_its_number() -> None:
    world = World("5550010001")
    await world.take("hello", TOKEN, "X-SMS-Part: 2/3")
    assert world.taken[0][0].part == Part("long", 2, 3)


async def test_a_copy_in_the_next_hour_has_the_same_key() -> None:
    world = World("5550010001")
    await world.take()
    world.now += 3600
    await world.take()
    assert len(world.keys) == 1
    world.now += 2 * 3600
    await world.take()
    assert len(world.keys) == 2
