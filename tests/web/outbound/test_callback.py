"""URL callbacks: the request, and the outcome of each answer."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsms.core.account import Callback, Did
from sipsms.core.errors import Unavailable
from sipsms.core.http_client import Forbidden, NoAnswer, NotSent
from sipsms.core.message import Deferred, Delivered, Media, Outcome, Rejected, Scope
from sipsms.core.ssrf import check_address
from sipsms.web.client import AiohttpClient
from sipsms.web.outbound.callback import CallbackCourier, fields, fill
from sipsms.web.outbound.concurrency import BUSY, EndpointLimits
from sipsms.web.settings import CallbackSettings
from tests.support.http.client import AT, Dids, FakeClient, delivery, media_url, message, reply
from tests.support.node.stub_carrier import Answer, StubCarrier

URL = "https://example.com/sms.php?to={TO}&from={FROM};message={MESSAGE}&id={ID}&date={TIMESTAMP}&files={MEDIA}"
DID = Did("7185550100", "acme", callback=Callback(URL))
NO_RETRY = replace(DID, callback=Callback(URL, retry=False))


def courier(client: Any, did: Did = DID, dids: Dids | None = None) -> CallbackCourier:
    directory = dids or Dids(did)
    return CallbackCourier(
        client, directory.dids.get, media_url, CallbackSettings, directory.disable, EndpointLimits(), lambda: AT
    )


async def outcome(answer: Any, did: Did = DID, dids: Dids | None = None) -> Outcome:
    client = FakeClient()
    client.answer(answer)
    return await courier(client, did, dids).deliver(delivery(message()))


def filled(text: str, mode: str = "nanpa", **more: Any) -> dict[str, list[str]]:
    url = fill("https://h/?" + URL.split("?")[1].replace(";", "&"), fields(message(text, **more), mode, media_url))
    return parse_qs(urlsplit(url).query, keep_blank_values=True, strict_parsing=True)


@pytest.mark.req("S-040", "S-041", "S-043")
async def test_the_callback_url_is_filled_in_and_requested() -> None:
    client = FakeClient()
    client.answer(reply(body=b"ok"))
    assert await courier(client).deliver(delivery(message("hello & bye"))) == Delivered()
    (asked,) = client.asked
    assert (asked.method, asked.body, asked.timeout) == ("GET", b"", 15.0)
    assert asked.url == (
        "https://example.com/sms.php?to=7185550100&from=2125550123;message=hello+%26+bye&id=4412"
        "&date=2026-10-02+14%3A24%3A31&files="
    )


@pytest.mark.req("S-042")
def test_media_urls_are_joined_by_commas() -> None:
    media = (Media("image/jpeg", "a.jpg", 5, "tok"), Media("image/gif", url="https://carrier/x?y=1&z=2"), Media())
    assert filled("", media=media)["files"] == ["https://host/media/tok/a.jpg,https://carrier/x?y=1&z=2"]


@pytest.mark.req("S-046")
@pytest.mark.parametrize(
    ("mode", "to", "source"), [("nanpa", "7185550100", "2125550123"), ("e164", "+17185550100", "+12125550123")]
)
async def test_numbers_follow_the_dialing_mode_of_the_did(mode: str, to: str, source: str) -> None:
    client = FakeClient()
    client.answer(reply(body=b"ok"))
    await courier(client, replace(DID, dialing_mode=mode)).deliver(delivery(message()))
    query = parse_qs(urlsplit(client.asked[0].url).query.replace(";", "&"))
    assert (query["to"], query["from"]) == ([to], [source])


@pytest.mark.parametrize("mode", ["nanpa", "e164"])
@pytest.mark.parametrize("source", ["+447911123456", "12345", "Wildix"])
def test_senders_that_are_no_numbers_are_not_changed(mode: str, source: str) -> None:
    assert filled("x", mode, source=source)["from"] == [source]


@pytest.mark.req("S-041")
@pytest.mark.parametrize(
    "text", ["{TO}", "{ID}{FROM}{MESSAGE}", "a=b&c=d;e#f?g", "%41 +", "\r\nHost: evil", "ü😀", "{"]
)
def test_the_text_cannot_change_the_url(text: str) -> None:
    assert filled(text)["message"] == [text]


@given(st.text(st.characters(blacklist_categories=["Cs"])))
def test_any_text_arrives_unchanged(text: str) -> None:
    assert filled(text)["message"] == [text]


def test_a_half_surrogate_is_replaced() -> None:
    assert filled("a\ud83d")["message"] == ["a?"]


def test_other_parts_of_the_url_stay_unchanged() -> None:
    url = "https://h/{FOO};x={to}&{ID}{ID}%7BTO%7D"
    assert fill(url, fields(message(), "nanpa", media_url)) == "https://h/{FOO};x={to}&44124412%7BTO%7D"


def test_the_timestamp_is_in_new_york_time() -> None:
    assert fields(message(received_at=1800000000.0), "nanpa", media_url)["TIMESTAMP"] == "2027-01-15 03:00:00"


@pytest.mark.req("S-044")
@pytest.mark.parametrize("body", [b"ok", b"OK\n", b"  Ok \r\n", b"\xef\xbb\xbfok"])
async def test_the_answer_ok_ends_the_callback(body: bytes) -> None:
    assert await outcome(reply(body=body)) == Delivered()


@pytest.mark.req("S-044")
@pytest.mark.parametrize("body", [b"", b"okay", b"<html>ok</html>", b"not ok", b"\xff\xfe"])
async def test_any_other_answer_is_retried_after_half_an_hour(body: bytes) -> None:
    assert await outcome(reply(body=body)) == Deferred("the page did not say ok", 1800.0, scope=Scope.MESSAGE)


@pytest.mark.req("S-044", "W-02")
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (reply(500, b"ok"), "the server answered 500"),
        (reply(404), "the server answered 404"),
        (reply(302, location="https://other/"), "the server answered 302: redirects are not followed"),
        (NotSent("cannot connect"), "cannot connect"),
        (NoAnswer("no answer in time"), "no answer in time"),
        (Forbidden("x: address 127.0.0.1 is private"), "x: address 127.0.0.1 is private"),
    ],
)
async def test_failed_requests_are_retried(answer: Any, why: str) -> None:
    assert await outcome(answer) == Deferred(why, 1800.0, scope=Scope.MESSAGE)
    assert await outcome(answer, NO_RETRY) == Rejected(why)


@pytest.mark.req("S-044")
@pytest.mark.parametrize("body", [b"", b"thanks", b"ok"])
async def test_without_retry_any_answer_ends_the_callback(body: bytes) -> None:
    assert await outcome(reply(204, body), NO_RETRY) == Delivered()


@pytest.mark.req("W-02")
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        ("99999999", 86400.0),
        ("Fri, 02 Oct 2026 18:25:31 GMT", 60.0),
        ("Fri, 02 Oct 2020 18:25:31 GMT", 1800.0),
        ("soon", 1800.0),
        ("-5", 1800.0),
        ("", 1800.0),
        ("Fri, 99 Oct 2026 18:25:31 GMT", 1800.0),
    ],
)
async def test_retry_after_of_the_server_is_kept(header: str, seconds: float) -> None:
    for status in (429, 503):
        assert await outcome(reply(status, retry_after=header)) == Deferred(
            f"the server answered {status}", seconds, scope=Scope.MESSAGE
        )


@pytest.mark.req("W-02")
async def test_an_answer_410_disables_the_callback() -> None:
    dids = Dids(DID)
    assert isinstance(await outcome(reply(410, b"ok"), dids=dids), Rejected)
    assert dids.disabled == [("7185550100", "callback", "the server answered 410 Gone")]
    dids.fails = Unavailable("disk is full")
    assert isinstance(await outcome(reply(410), dids=dids), Rejected)  # and the next message finds it out again


@pytest.mark.parametrize(
    "did", [replace(DID, callback=None), replace(DID, callback=Callback(URL, disabled="410")), None]
)
async def test_a_removed_or_disabled_callback_is_not_requested(did: Did | None) -> None:
    client = FakeClient()
    dids = Dids(did) if did else Dids()
    result = await courier(client, dids=dids).deliver(delivery(message()))
    assert isinstance(result, Rejected)
    assert client.asked == []


# --- on real sockets --------------------------------------------------------------------------------------------------


@pytest.fixture
async def guarded() -> AsyncIterator[AiohttpClient]:
    client = AiohttpClient(partial(check_address, allow_private=True))
    yield client
    await client.close()


def at(stub: StubCarrier) -> Did:
    return replace(DID, callback=Callback(f"http://127.0.0.1:{stub.port}/sms?m={{MESSAGE}};f={{FROM}}"))


@pytest.mark.req("S-040", "S-044")
async def test_a_callback_is_retried_until_its_page_says_ok(guarded: AiohttpClient) -> None:
    with StubCarrier() as stub:
        stub.script(Answer(200, b"<b>error</b>"), Answer(200, b"ok"))
        sender = courier(guarded, at(stub))
        assert isinstance(await sender.deliver(delivery(message("grüß dich"))), Deferred)
        assert await sender.deliver(delivery(message("grüß dich"), attempts=2)) == Delivered()
        assert [one.path for one in stub.taken] == ["/sms?m=gr%C3%BC%C3%9F+dich;f=2125550123"] * 2


@pytest.mark.req("A-39")
async def test_a_private_address_is_not_called() -> None:
    client = AiohttpClient(check_address)
    with StubCarrier() as stub:
        result = await courier(client, at(stub)).deliver(delivery(message()))
        assert result == Deferred("address 127.0.0.1 is private", 1800.0, scope=Scope.MESSAGE)
        assert stub.taken == []
    await client.close()


@pytest.mark.req("A-40")
async def test_a_slow_server_holds_up_only_its_own_callbacks(guarded: AiohttpClient) -> None:
    """It gets five calls at once, twenty wait, the others come back later; another server answers meanwhile."""
    open_now = most = 0
    hold = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        await reader.readuntil(b"\r\n\r\n")
        open_now += 1
        most = max(most, open_now)
        await hold.wait()
        open_now -= 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        writer.close()

    server = await asyncio.start_server(slow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    bad = replace(DID, callback=Callback(f"http://127.0.0.1:{port}/?{{ID}}"))
    with StubCarrier() as stub:
        stub.default = Answer(200, b"ok")
        good = replace(at(stub), number="7185550101")
        sender = courier(guarded, dids=Dids(bad, good))
        calls = [asyncio.create_task(sender.deliver(delivery(message(id=n)))) for n in range(40)]
        done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        turned_away = [task.result() for task in done]
        assert turned_away == [BUSY] * 15
        assert await sender.deliver(delivery(message(did="7185550101"))) == Delivered()
        hold.set()
        results = await asyncio.gather(*calls)
    server.close()
    assert results.count(Delivered()) == 25
    assert most == 5


@pytest.mark.req("A-40")
async def test_twenty_slow_servers_do_not_hold_up_a_good_one() -> None:
    """Each of them has more calls than it may; the good one's are answered as if they were alone."""
    hold = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"Host: bad" in head:
            await hold.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        writer.close()

    def look_up(host: str, port: int, *_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    hosts = ["good", *(f"bad{n}" for n in range(20))]
    dids = Dids(*(Did(host, "acme", callback=Callback(f"http://{host}.example:{port}/")) for host in hosts))
    client = AiohttpClient(partial(check_address, allow_private=True), look_up)
    sender = courier(client, dids=dids)
    bad = [asyncio.create_task(sender.deliver(delivery(message(did=host)))) for host in hosts[1:] for _ in range(30)]
    await asyncio.sleep(0)
    times = []
    for _ in range(100):
        began = time.perf_counter()
        assert await sender.deliver(delivery(message(did="good"))) == Delivered()
        times.append(time.perf_counter() - began)
    hold.set()
    results = await asyncio.gather(*bad)
    await client.close()
    server.close()
    assert median(times) < 1.0, "the good one does not wait for the bad ones"
    assert results.count(Delivered()) == 20 * 25
    assert len(results) - results.count(Delivered()) == 20 * 5


async def test_a_queue_for_a_server_is_left_on_timeout_and_forgotten_when_empty() -> None:
    endpoints = EndpointLimits(at_once=1, waiting=1, patience=0.01)
    client = FakeClient()
    client.answer(reply(body=b"ok"))
    sender = CallbackCourier(
        client, {DID.number: DID}.get, media_url, CallbackSettings, Dids().disable, endpoints, lambda: AT
    )
    async with endpoints.turn(URL):
        assert isinstance(await sender.deliver(delivery(message())), Deferred)
        assert len(endpoints) == 1
    assert len(endpoints) == 0
    assert await sender.deliver(delivery(message())) == Delivered()
    assert len(endpoints) == 0
