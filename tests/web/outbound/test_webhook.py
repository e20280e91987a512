"""JSON webhooks: the request, the outcome of each answer, and the schedule of retries."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from sipsms.core.account import Did, Webhook
from sipsms.core.errors import Unavailable
from sipsms.core.http_client import Forbidden, NoAnswer, NotSent
from sipsms.core.message import Attempt, Deferred, Delivered, Media, Outcome, Rejected, Scope
from sipsms.core.ssrf import check_address
from sipsms.web.client import AiohttpClient
from sipsms.web.outbound.concurrency import EndpointLimits
from sipsms.web.outbound.webhook import PAUSES, TRIES, WebhookCourier
from sipsms.web.outbound.webhook_payload import signed_headers
from tests.support.http.client import AT, Dids, FakeClient, delivery, media_url, message, reply
from tests.support.node.stub_carrier import Answer, StubCarrier

URL = "https://pbx.example.com/sms/generic/abc"
DID = Did("7185550100", "acme", webhook=Webhook(URL))


class Site:
    """A courier with its clock, its chance and its directory."""

    def __init__(self, did: Did = DID, client: Any = None) -> None:
        self.now = AT
        self.chance = 0.5
        self.client = client or FakeClient()
        self.dids = Dids(did)
        self.endpoints = EndpointLimits(at_once=1, waiting=0)
        self.courier = WebhookCourier(
            self.client, self.dids.dids.get, media_url, self.dids.disable, self.endpoints, lambda: self.now,
            jitter=lambda: self.chance,
        )  # fmt: skip

    async def deliver(self, attempts: int = 1, **fields: Any) -> Outcome:
        return await self.courier.deliver(delivery(message(), "webhook", attempts, **fields))


@pytest.mark.req("S-045")
async def test_the_webhook_is_a_signed_post_of_json() -> None:
    site = Site(replace(DID, webhook=Webhook(URL, bearer="t0ken")))
    site.client.answer(reply())
    mms = message(media=(Media("image/jpeg", "abc.jpg", 5, "tok"),))
    assert await site.courier.deliver(delivery(mms, "webhook")) == Delivered()
    (asked,) = site.client.asked
    assert (asked.method, asked.url, asked.timeout) == ("POST", URL, 15.0)
    assert asked.headers == {"Content-Type": "application/json", "Authorization": "Bearer t0ken"}
    data = json.loads(asked.body)["data"]
    assert (data["id"], data["payload"]["id"], data["payload"]["type"]) == (4412, 4412, "MMS")
    assert data["payload"]["media"] == [{"url": "https://host/media/tok/abc.jpg", "content_type": "image/jpeg"}]


@pytest.mark.req("S-046")
@pytest.mark.parametrize(("mode", "number"), [("", "+17185550100"), ("nanpa", "7185550100")])
async def test_numbers_follow_the_dialing_mode_of_the_did(mode: str, number: str) -> None:
    site = Site(replace(DID, dialing_mode=mode))
    site.client.answer(reply())
    await site.deliver()
    assert json.loads(site.client.asked[0].body)["data"]["payload"]["to"][0]["phone_number"] == number


@pytest.mark.req("W-01")
async def test_the_webhook_id_is_the_same_for_all_attempts() -> None:
    site = Site(replace(DID, webhook=Webhook(URL, secret="whsec_c2VjcmV0")))
    site.client.answer(reply(500), reply())
    await site.deliver()
    site.now += 5
    await site.deliver(2)
    first, second = site.client.asked
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == "msg_67945"
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 5
    for asked, at in ((first, AT), (second, AT + 5)):
        signed = signed_headers("whsec_c2VjcmV0", "msg_67945", at, asked.body)
        assert asked.headers["webhook-signature"] == signed["webhook-signature"]


@pytest.mark.req("W-02")
@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_any_2xx_ends_the_webhook(status: int) -> None:
    site = Site()
    site.client.answer(reply(status, b"whatever"))
    assert await site.deliver() == Delivered()


@pytest.mark.req("W-02")
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (reply(301), "the server answered 301: redirects are not followed"),
        (reply(400), "the server answered 400"),
        (reply(404), "the server answered 404"),
        (reply(500), "the server answered 500"),
        (NotSent("cannot connect"), "cannot connect"),
        (NoAnswer("no answer in time"), "no answer in time"),
        (Forbidden("address 10.0.0.1 is private"), "address 10.0.0.1 is private"),
    ],
)
async def test_errors_and_other_answers_are_retried(answer: Any, why: str) -> None:
    site = Site()
    site.client.answer(answer)
    assert await site.deliver() == Deferred(why, 5.0, scope=Scope.MESSAGE)


@pytest.mark.req("W-02")
async def test_retry_after_is_honoured_but_does_not_shorten_the_schedule() -> None:
    site = Site()
    site.client.answer(reply(429, retry_after="77"))
    assert await site.deliver(1) == Deferred("the server answered 429", 77.0, scope=Scope.MESSAGE)
    assert await site.deliver(2) == Deferred("the server answered 429", 300.0, scope=Scope.MESSAGE)


@pytest.mark.req("W-02")
async def test_an_answer_410_disables_the_webhook() -> None:
    site = Site()
    site.client.answer(reply(410))
    assert isinstance(await site.deliver(), Rejected)
    assert site.dids.disabled == [("7185550100", "webhook", "the server answered 410 Gone")]
    site.dids.fails = Unavailable("disk is full")
    assert isinstance(await site.deliver(), Rejected)


@pytest.mark.req("W-03")
async def test_retries_follow_the_schedule_with_jitter() -> None:
    site = Site()
    site.client.answer(reply(500))
    for chance, factor in ((0.0, 0.8), (0.5, 1.0), (1.0, 1.2)):
        site.chance = chance
        for attempt, pause in enumerate(PAUSES, 1):
            outcome = await site.deliver(attempt)
            assert isinstance(outcome, Deferred)
            assert outcome.retry == pytest.approx(pause * factor)
    assert sum(PAUSES) == pytest.approx(76 * 3600, rel=0.01)


@pytest.mark.req("W-03", "F-22")
async def test_a_receiver_that_is_down_for_76_hours_gets_the_message() -> None:
    site = Site()
    site.client.answer(NotSent("cannot connect"))
    for attempt in range(1, TRIES + 1):
        outcome = await site.deliver(attempt)
        if isinstance(outcome, Deferred):
            site.now += outcome.retry or 0
    assert outcome == Rejected("gave up after 10 tries: cannot connect")
    assert len(site.client.asked) == 10
    assert site.now - AT == pytest.approx(75.6 * 3600, rel=0.01)
    assert site.dids.disabled == [("7185550100", "webhook", "nothing got through in 10 tries: cannot connect")]


@pytest.mark.req("F-22")
async def test_one_refused_message_does_not_disable_a_working_webhook() -> None:
    site = Site()
    site.client.answer(reply())
    site.now += 80 * 3600
    await site.deliver(id=1, created_at=site.now)
    site.client.answer(reply(500))
    assert isinstance(await site.deliver(10), Rejected)
    assert site.dids.disabled == []


@pytest.mark.req("F-22")
async def test_a_refusal_right_after_the_start_does_not_disable_a_webhook() -> None:
    site = Site()
    site.client.answer(reply(500))
    assert isinstance(await site.deliver(10), Rejected)
    assert site.dids.disabled == []


@pytest.mark.req("A-40")
async def test_waiting_for_a_busy_server_is_no_attempt() -> None:
    site = Site()
    site.client.answer(reply(500))
    async with site.endpoints.turn(URL):
        assert await site.deliver(1) == Deferred(
            "the server is busy with others of our calls", 15.0, scope=Scope.MESSAGE, attempt=Attempt.NOT_MADE
        )
    assert await site.deliver(1) == Deferred("the server answered 500", 5.0, scope=Scope.MESSAGE)
    assert len(site.client.asked) == 1


@pytest.mark.parametrize("webhook", [None, Webhook(URL, disabled="410")])
async def test_a_removed_or_disabled_webhook_is_not_requested(webhook: Webhook | None) -> None:
    site = Site(replace(DID, webhook=webhook))
    assert isinstance(await site.deliver(), Rejected)
    assert site.client.asked == []
    del site.dids.dids[DID.number]
    assert isinstance(await site.deliver(), Rejected)


@pytest.fixture
async def guarded() -> AsyncIterator[AiohttpClient]:
    client = AiohttpClient(partial(check_address, allow_private=True))
    yield client
    await client.close()


@pytest.mark.req("S-045", "W-02")
async def test_a_webhook_does_not_follow_redirects_on_a_real_socket(guarded: AiohttpClient) -> None:
    with StubCarrier() as stub:
        stub.script(Answer(302, b"", {"Location": f"http://127.0.0.1:{stub.port}/elsewhere"}), Answer(200, b'"ok"'))
        site = Site(replace(DID, webhook=Webhook(stub.url, bearer="t0ken")), guarded)
        assert isinstance(await site.deliver(), Deferred)
        assert await site.deliver(2) == Delivered()
        first, second = stub.taken
        assert first.path == second.path == "/send"
        assert second.headers["authorization"] == "Bearer t0ken"
        assert second.headers["content-type"] == "application/json"
        assert second.json["data"]["event_type"] == "message.received"


@pytest.mark.parametrize("bearer", ["a\r\nX: y", "a\nb"])
async def test_a_token_cannot_add_headers(guarded: AiohttpClient, bearer: str) -> None:
    with StubCarrier() as stub:
        site = Site(replace(DID, webhook=Webhook(stub.url, bearer=bearer)), guarded)
        assert isinstance(await site.deliver(), Deferred)
        assert stub.taken == []


async def test_the_memory_of_working_dids_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sipsms.web.outbound.webhook._REMEMBERED", 2, raising=False)
    site = Site()
    site.client.answer(reply())
    for number in ("7185550101", "7185550102", "7185550101", "7185550103"):
        site.dids.dids[number] = replace(DID, number=number)
        await site.courier.deliver(delivery(message(did=number), "webhook"))
    assert list(site.courier._worked_at) == ["7185550101", "7185550103"]
