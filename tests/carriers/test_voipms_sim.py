"""VoIP.ms against the simulator: real sockets, the carrier's habits and its faults."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from sipsms.carriers.settings import VoipmsConfig
from sipsms.carriers.voipms import VoipmsCarrier
from sipsms.core.http_client import NoAnswer, NotSent
from sipsms.core.message import Accepted, Deferred, Rejected, Scope, Unknown
from sipsms.messaging.carrier import CarrierTools, HookError, HookRequest, InboundMedia, NotThere
from sipsms.web.client import AiohttpClient
from tests.carriers.kit import DID, HOOK_URL, PHONE, PICTURE, KeptMedia, delivery
from tools.carrier_sim import CarrierSim


@pytest.fixture
def sim() -> Iterator[CarrierSim]:
    with CarrierSim(dids=[DID], retry_every=0.2) as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[AiohttpClient]:
    opened = AiohttpClient()
    yield opened
    await opened.close()


def carrier(sim: CarrierSim, client: AiohttpClient, now: float = 0.0, **changes: Any) -> VoipmsCarrier:
    given = {"type": "voipms", "username": "sim@example.net", "password": "simulated", "url": sim.url, "timeout": 3}
    config = VoipmsConfig.model_validate({**given, "inbound": {"secret": "s3cret"}, **changes})
    clock = (lambda: time.time() + now) if now else time.time
    sim.ahead = now
    return VoipmsCarrier("voipms", config, CarrierTools(client, KeptMedia(), clock, HOOK_URL))


# --- out --------------------------------------------------------------------------------------------------------------


@pytest.mark.req("S-001", "S-010", "S-104")
async def test_a_text_is_sent_as_sms(sim: CarrierSim, client: AiohttpClient) -> None:
    text = "é 😀 line\r\nline & 100% + {x}\n--boundary--"
    outcome = await carrier(sim, client).send(delivery(text))
    (record,) = sim.sent
    assert outcome == Accepted(f"sms:{record.id}")
    assert (record.did, record.contact, record.message, record.mms) == (DID, PHONE, text, False)
    assert "simulated" not in str(sim.requests)


@pytest.mark.req("S-002", "S-022", "S-023", "S-024")
async def test_a_long_text_and_a_picture_are_sent_as_mms(sim: CarrierSim, client: AiohttpClient) -> None:
    long = await carrier(sim, client).send(delivery("x" * 161))
    linked = await carrier(sim, client).send(delivery("look", PICTURE))
    inline = await carrier(sim, client, media="inline").send(delivery("", PICTURE))
    assert [record.media for record in sim.sent] == [[], [PICTURE.url], ["data:image/png;base64,iVBORw=="]]
    assert [long, linked, inline] == [Accepted(f"mms:{record.id}") for record in sim.sent]


FAULTS: list[tuple[str, Any]] = [
    ("down", Deferred("answered 503")),
    ("drop", Unknown("no answer: connection closed before an answer came")),
    ("hang_up", Unknown("no answer: connection closed before an answer came")),
    ("garbage", Unknown("answered 200 with a body that is not understood")),
    ("half", Unknown("answered 200 with a body that is not understood")),
    ("throttle", Deferred("answered api_limit_exceeded", 60.0, scope=Scope.COURIER)),
    ("limit_reached", Deferred("answered limit_reached", 900.0, scope=Scope.COURIER)),
]


@pytest.mark.req("D6", "F-12", "F-13", "G24", "S-006")
@pytest.mark.parametrize(("fault", "outcome"), FAULTS)
async def test_each_fault_gives_its_outcome(sim: CarrierSim, client: AiohttpClient, fault: str, outcome: Any) -> None:
    sim.fault(fault, count=1)
    assert await carrier(sim, client).send(delivery()) == outcome
    assert len(sim.sent) == (1 if fault in ("hang_up", "garbage", "half") else 0)


async def test_no_answer_in_time_is_unknown(sim: CarrierSim, client: AiohttpClient) -> None:
    sim.fault("slow", seconds=1.0)
    outcome = await carrier(sim, client, timeout=0.3).send(delivery())
    assert outcome == Unknown("no answer: no answer in time")


async def test_an_unreachable_carrier_defers_the_courier(sim: CarrierSim, client: AiohttpClient) -> None:
    sim.stop()
    outcome = await carrier(sim, client).send(delivery())
    assert isinstance(outcome, Deferred)
    assert outcome.scope is Scope.COURIER
    sim.start()
    assert isinstance(await carrier(sim, client).send(delivery()), Accepted)


@pytest.mark.req("S-006", "G24")
async def test_the_daily_limit_defers_the_delivery(sim: CarrierSim, client: AiohttpClient) -> None:
    sim.api.daily_limit = 2
    outcomes = [await carrier(sim, client).send(delivery(str(n))) for n in range(3)]
    assert [type(one) for one in outcomes] == [Accepted, Accepted, Deferred]


async def test_a_wrong_password_defers_and_a_wrong_number_rejects(sim: CarrierSim, client: AiohttpClient) -> None:
    wrong = await carrier(sim, client, password="wrong").send(delivery())
    assert wrong == Deferred("answered invalid_credentials", scope=Scope.COURIER)
    assert await carrier(sim, client).send(delivery(to="911")) == Rejected("answered invalid_dst", "invalid_dst")
    assert await carrier(sim, client).send(delivery(source="4165559999")) == Rejected(
        "answered invalid_did", "invalid_did"
    )


# --- what became of it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["hi", "x" * 200])
async def test_a_lost_answer_is_looked_up(sim: CarrierSim, client: AiohttpClient, text: str) -> None:
    began = time.time()
    sim.fault("hang_up", count=1)
    acme = carrier(sim, client)
    assert isinstance(await acme.send(delivery(text)), Unknown)
    kind = "sms" if len(text) <= 160 else "mms"
    assert await acme.look_up(delivery(text), began) == Accepted(f"{kind}:{sim.sent[0].id}")
    assert await acme.look_up(delivery(text), began) == Accepted(f"{kind}:{sim.sent[0].id}")


async def test_two_equal_texts_do_not_claim_one_record(sim: CarrierSim, client: AiohttpClient) -> None:
    began = time.time()
    acme = carrier(sim, client, now=400.0)
    sim.fault("hang_up", count=1)
    await acme.send(delivery(id=1))
    sim.fault("drop", count=1)
    await acme.send(delivery(id=2))
    assert await acme.look_up(delivery(id=1), began) == Accepted(f"sms:{sim.sent[0].id}")
    with pytest.raises(NotThere):
        await acme.look_up(delivery(id=2), began)


async def test_the_record_of_an_accepted_message_matches_no_other(sim: CarrierSim, client: AiohttpClient) -> None:
    acme = carrier(sim, client, now=400.0)
    assert isinstance(await acme.send(delivery(id=1)), Accepted)
    with pytest.raises(NotThere):
        await acme.look_up(delivery(id=2), time.time())


async def test_a_recent_attempt_may_be_missing_in_the_records(sim: CarrierSim, client: AiohttpClient) -> None:
    assert await carrier(sim, client).look_up(delivery(), time.time()) is None
    with pytest.raises(NotThere):
        await carrier(sim, client, now=400.0).look_up(delivery(), time.time())


async def test_a_text_the_carrier_changed_is_no_proof_of_absence(sim: CarrierSim, client: AiohttpClient) -> None:
    sim.api.add("0", DID, PHONE, "na ve  caf ", [], mms=False)
    assert await carrier(sim, client, now=400.0).look_up(delivery("naïve  café"), time.time()) is None


async def test_records_of_other_conversations_do_not_match(sim: CarrierSim, client: AiohttpClient) -> None:
    sim.api.add("0", DID, "5557654321", "hi", [], mms=False)
    sim.api.add("1", DID, PHONE, "hi", [], mms=False)
    with pytest.raises(NotThere):
        await carrier(sim, client, now=400.0).look_up(delivery("hi"), time.time())


@pytest.mark.parametrize(("fault", "error"), [("throttle", NotSent), ("garbage", NoAnswer), ("hang_up", NoAnswer)])
async def test_a_failed_look_up_raises_an_error(sim: CarrierSim, client: AiohttpClient, fault: str, error: Any) -> None:
    sim.fault(fault)
    with pytest.raises(error):
        await carrier(sim, client, now=400.0).look_up(delivery(), time.time())
    with pytest.raises(error):
        await carrier(sim, client).poll(time.time())


# --- in ---------------------------------------------------------------------------------------------------------------


@pytest.mark.req("S-006")
async def test_a_poll_finds_messages_that_no_hook_reported(sim: CarrierSim, client: AiohttpClient) -> None:
    began = time.time()
    picture = {"type": "image/png", "base64": "iVBORw=="}
    first = sim.inject(PHONE, DID, "one", quiet=True)
    second = sim.inject(PHONE, DID, "", [picture], quiet=True)
    sim.api.add("0", DID, PHONE, "ours", [], mms=False)
    messages = await carrier(sim, client).poll(began)
    assert [(one.remote_id, one.source, one.destination, one.text) for one in messages] == [
        (str(first), PHONE, DID, "one"),
        (str(second), PHONE, DID, ""),
    ]
    assert messages[1].media == (InboundMedia(sim.api.records[1].media[0]),)
    assert messages[0].dedupe == f"{first}/{PHONE}/{DID}"


async def test_media_are_read_by_getmediamms(sim: CarrierSim, client: AiohttpClient) -> None:
    sim.api.hide_media = True
    sim.inject(PHONE, DID, "look", ["https://media.example.net/a.png"], quiet=True)
    (message,) = await carrier(sim, client).poll(time.time())
    assert message.media == (InboundMedia("https://media.example.net/a.png"),)


async def test_a_long_text_without_media_is_read(sim: CarrierSim, client: AiohttpClient) -> None:
    sim.inject(PHONE, DID, "x" * 200, quiet=True)
    (message,) = await carrier(sim, client).poll(time.time())
    assert (message.text, message.media) == ("x" * 200, ())


async def test_a_poll_without_messages_gives_none(sim: CarrierSim, client: AiohttpClient) -> None:
    assert await carrier(sim, client).poll(time.time()) == []
    assert await carrier(sim, client).poll(0.0) == []


async def test_a_poll_gives_only_messages_since_the_time(sim: CarrierSim, client: AiohttpClient) -> None:
    sim.inject(PHONE, DID, "old", quiet=True)
    sim.api.records[0].at -= 3600
    sim.inject(PHONE, DID, "new", quiet=True)
    assert [one.text for one in await carrier(sim, client).poll(time.time())] == ["new"]
    assert [one.text for one in await carrier(sim, client).poll(time.time() - 7200)] == ["old", "new"]


async def test_a_poll_reads_more_than_fifty_messages(sim: CarrierSim, client: AiohttpClient) -> None:
    for n in range(120):
        sim.inject(PHONE, DID, str(n), quiet=True)
    assert len(await carrier(sim, client).poll(time.time())) == 120


class Door:
    """A hook as the server has it: parse, and answer as the carrier is told to."""

    def __init__(self, acme: VoipmsCarrier) -> None:
        self.acme = acme
        self.taken: list[Any] = []
        door = self

        class Handler(BaseHTTPRequestHandler):
            def _take(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                query = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, said = door.answer(HookRequest(self.command, query, headers, body))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(said.encode())

            do_GET = do_POST = _take

            def log_message(self, format: str, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hooks/voipms/s3cret"
        self.closed = 0

    def answer(self, request: HookRequest) -> tuple[int, str]:
        if self.closed:
            self.closed -= 1
            return 503, "again later"
        try:
            parsed = self.acme.parse(request)
        except HookError as error:
            return error.status, error.reason
        self.taken += parsed.messages
        return parsed.reply.status, parsed.reply.body


CALLBACK = "?to={TO}&from={FROM}&message={MESSAGE}&id={ID}&date={TIMESTAMP}&files={MEDIA}"


@pytest.mark.req("S-040", "S-041", "S-042", "S-043", "S-044", "S-045", "S-046", "S-109", "S-110", "S-111")
@pytest.mark.parametrize("mode", ["1", "2"])
async def test_callback_webhook_and_poll_are_one_message(sim: CarrierSim, client: AiohttpClient, mode: str) -> None:
    door = Door(carrier(sim, client))
    did = sim.did(DID)
    did.set_callback(door.url + CALLBACK)
    did.set_webhook(door.url)
    did.values["dialmode"] = mode
    text = "é & 😀 + 100%\nline"
    sim.inject(PHONE, DID, text, ["https://media.example.net/a.png", "https://media.example.net/b.jpg"])
    sim.wait(lambda: len(sim.calls) == 2 and all(call.done for call in sim.calls))
    (polled,) = await carrier(sim, client).poll(time.time())
    door.server.server_close()
    assert {one.dedupe for one in [*door.taken, polled]} == {f"{sim.api.records[0].id}/{PHONE}/{DID}"}
    assert {one.text for one in [*door.taken, polled]} == {text}
    assert {tuple(part.url for part in one.media) for one in [*door.taken, polled]} == {
        ("https://media.example.net/a.png", "https://media.example.net/b.jpg")
    }
    assert {call.answer for call in sim.calls} == {"ok"}


@pytest.mark.req("S-044")
async def test_a_callback_that_was_not_accepted_is_repeated(sim: CarrierSim, client: AiohttpClient) -> None:
    door = Door(carrier(sim, client))
    door.closed = 1
    sim.did(DID).set_callback(door.url + CALLBACK)
    sim.inject(PHONE, DID, "hi")
    sim.wait(lambda: sim.calls and sim.calls[0].done)
    door.server.server_close()
    assert (sim.calls[0].tries, [one.text for one in door.taken]) == (2, ["hi"])


@pytest.mark.req("F-11", "F-23")
async def test_a_wrong_clock_does_not_make_a_message_be_sent_again(sim: CarrierSim, client: AiohttpClient) -> None:
    """The carrier's books are searched by time: where our clocks differ, "not there" means nothing."""
    acme = carrier(sim, client, now=400.0)
    sim.ahead = 0.0
    assert await acme.look_up(delivery("hi"), time.time()) is None
    sim.ahead = 400.0
    with pytest.raises(NotThere):
        await acme.look_up(delivery("hi"), time.time())
