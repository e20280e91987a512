"""Messages by /v1: accepted durably and once, sent at their time, listed page by page (W-06, F-21)."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sipsms.store.sqlite import sqlite3
from tests.support.http.v1 import HANDSET, ApiNode

pytestmark = pytest.mark.e2e

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GIF = "R0lGODlhAQABAAAAACw="


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiNode]:
    with ApiNode(tmp_path_factory.mktemp("messages")) as node:
        yield node


def soon(ask: Callable[[], Any], seconds: float = 10.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := ask()):
        assert time.monotonic() < deadline, "not seen in time"
        time.sleep(0.02)  # polled
    return found


def state(node: ApiNode, message: int) -> str:
    return str(node.get(f"/messages/{message}").json["state"])


def test_a_message_is_accepted_and_sent(node: ApiNode) -> None:
    reply = node.send("Grüße", "anna")
    assert reply.status == 202
    message = reply.json["id"]
    assert reply.json == {
        "id": message, "state": "accepted", "from": "5550001111", "to": HANDSET, "encoding": "gsm7", "segments": 1
    }  # fmt: skip
    assert reply.headers["location"] == f"/v1/messages/{message}"
    soon(lambda: state(node, message) == "delivered")
    whole = node.get(f"/messages/{message}", "anna").json
    assert (whole["text"], whole["direction"], whole["account"]) == ("Grüße", "out", "anna")
    (delivery,) = whole["deliveries"]
    assert delivery["courier"] == "carrier", "which one is the operator's business"
    assert [one["outcome"] for one in delivery["tries"]] == ["delivered"]
    assert node.get(f"/messages/{message}").json["deliveries"][0]["courier"] == "carrier:sim"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"to": HANDSET}, "text"),
        ({"to": HANDSET, "text": "x" * 161}, "text"),
        ({"to": HANDSET, "text": "a\0b"}, "text"),
        ({"text": "x"}, "to"),
        ({"to": "tel", "text": "x"}, "to"),
        ({"to": "1", "text": "x"}, "to"),
        ({"to": 4445556666, "text": "x"}, "to"),
        ({"to": HANDSET, "text": "x", "from": "5550002222"}, "from"),
        ({"to": HANDSET, "text": "x", "from": "5559998888"}, "from"),
        ({"to": HANDSET, "text": "x", "account": "bert"}, "account"),
        ({"to": HANDSET, "text": "x", "more": 1}, "more"),
        ({"to": HANDSET, "text": "x", "send_at": "tomorrow"}, "send_at"),
        ({"to": HANDSET, "text": "x", "send_at": "2026-02-30T00:00:00Z"}, "send_at"),
        ({"to": HANDSET, "text": "x", "send_at": "2099-01-01T00:00:00Z"}, "send_at"),
        ({"to": HANDSET, "media": [{"data": "###"}]}, "media.0.data"),
        ({"to": HANDSET, "media": [{}]}, "media.0"),
        ({"to": HANDSET, "media": [{"data": GIF}] * 4}, "media"),
        ({"to": HANDSET, "media": [{"data": "PGh0bWw+"}]}, "media"),
        ({"to": HANDSET, "media": [{"url": "ftp://x"}]}, "media"),
        ([], "body"),
        (b"{", "body"),
        (b'{"to": "4445556666", "text": "\xff"}', "body"),
        (b'{"to": "4445556666", "text": "\\ud800"}', "body"),
    ],
)
def test_a_refusal_names_its_field(node: ApiNode, body: Any, field: str) -> None:
    reply = node.call("POST", "/messages", body, "anna")
    assert (reply.status, reply.fields) == (422, [field]), reply


def test_the_daily_limit_is_enforced(node: ApiNode) -> None:
    node.patch("/accounts/bert", {"api_daily_limit": 1})
    assert node.send("one", "bert").status == 202
    reply = node.send("two", "bert")
    assert (reply.status, reply.problem["type"]) == (429, "urn:sipsms:problem:limit")
    assert 0 < int(reply.headers["retry-after"]) <= 86400
    usage = node.get("/usage", "bert").json
    assert (usage["today"], usage["limit"]) == (1, 1)
    soon(lambda: [one["sends"] for one in node.get("/usage", "bert").json["days"]] == [1])
    assert node.send("by the operator", "op", account="bert").status == 202, "who is not counted"


def test_an_mms_is_sent_and_its_media_can_be_read(node: ApiNode) -> None:
    sent = node.send("", "anna", media=[{"data": GIF, "name": "a\r\nb.gif"}])
    assert sent.status == 202, sent
    (part,) = node.get(f"/messages/{sent.json['id']}", "anna").json["media"]
    assert (part["content_type"], part["path"]) == ("image/gif", f"/v1/messages/{sent.json['id']}/media/0")
    picture = node.get(part["path"].removeprefix("/v1"), "anna")
    assert picture.body.startswith(b"GIF89a")
    assert picture.headers["content-disposition"] == f'attachment; filename="{part["name"]}"'
    assert "sandbox" in picture.headers["content-security-policy"]
    assert node.get(f"/messages/{sent.json['id']}/media/1", "anna").status == 404


def test_a_held_message_waits_and_can_be_cancelled(node: ApiNode) -> None:
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="seconds")
    held, again = (node.send(f"later {n}", "anna", send_at=later).json["id"] for n in range(2))
    assert state(node, held) == state(node, again) == "queued"
    assert node.post(f"/messages/{held}/cancel", {}, "anna").json == {"count": 1}
    whole = node.get(f"/messages/{held}", "anna").json
    assert (whole["state"], whole["deliveries"][0]["last_error"]) == ("failed", "cancelled")
    assert node.post(f"/messages/{held}/cancel", {}, "anna").json == {"count": 0}
    assert state(node, again) == "queued"
    past = node.send("in time", "anna", send_at="2020-01-01T00:00:00Z").json["id"]
    soon(lambda: state(node, past) == "delivered")


def test_a_held_message_survives_a_restart(node: ApiNode) -> None:
    due = (datetime.now(UTC) + timedelta(seconds=2)).isoformat(timespec="milliseconds")
    held = node.send("after the restart", "anna", send_at=due).json["id"]
    node.kill()
    node.start()
    soon(lambda: state(node, held) == "delivered")
    assert len(node.get(f"/messages/{held}").json["deliveries"][0]["tries"]) == 1


# --- once ------------------------------------------------------------------------------------------------------------


def test_a_cancelled_message_is_never_sent(node: ApiNode) -> None:
    """Its time passes: what was to be sent after it has gone, it has not."""
    due = datetime.now(UTC)
    times = [(due + timedelta(seconds=n)).isoformat(timespec="milliseconds") for n in (1.0, 1.5)]
    cancelled, other = (node.send(f"at {at}", "anna", send_at=at).json["id"] for at in times)
    assert node.post(f"/messages/{cancelled}/cancel", {}, "anna").json == {"count": 1}
    soon(lambda: state(node, other) == "delivered")
    (delivery,) = node.get(f"/messages/{cancelled}", "anna").json["deliveries"]
    assert (delivery["state"], delivery["tries"]) == ("failed", [])


@pytest.mark.req("W-06", "F-21")
def test_fifty_simultaneous_requests_with_one_key_are_one_message(node: ApiNode) -> None:
    """Fifty connections, all requests written before any answer is read."""
    body = json.dumps({"to": HANDSET, "text": "only once"}).encode()
    head = (
        f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {node.tokens['anna']}\r\n"
        f"Idempotency-Key: order-4711\r\nContent-Type: application/json\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()

    async def all_at_once() -> list[bytes]:
        wires = [await asyncio.open_connection("127.0.0.1", node.http_port) for _ in range(50)]
        for _, writer in wires:
            writer.write(head + body)
        replies = [await reader.read() for reader, _ in wires]
        for _, writer in wires:
            writer.close()
        return replies

    before = len(node.get("/messages?limit=200").json["items"])
    replies = asyncio.run(all_at_once())
    assert {reply.split(b"\r\n")[0] for reply in replies} == {b"HTTP/1.1 202 Accepted"}
    assert len({reply.partition(b"\r\n\r\n")[2] for reply in replies}) == 1
    assert len(node.get("/messages?limit=200").json["items"]) == before + 1
    message = json.loads(replies[0].partition(b"\r\n\r\n")[2])["id"]
    soon(lambda: state(node, message) == "delivered")
    assert len(node.get(f"/messages/{message}").json["deliveries"]) == 1
    late = node.call("POST", "/messages", body, "anna", {"Idempotency-Key": "order-4711"})
    assert late.json["id"] == message, "it was the key, not that they came together"


def test_a_client_that_asks_again_without_reading_the_answer_sends_one_message(node: ApiNode) -> None:
    """Without a key: who hangs up before the answer, and asks again, has sent one message; who was answered, two."""
    body = json.dumps({"to": HANDSET, "text": "was it taken?"}).encode()
    with socket.create_connection(("127.0.0.1", node.http_port), 10) as wire:
        wire.sendall(
            f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {node.tokens['anna']}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )

    def taken() -> list[int]:
        return [one["id"] for one in node.get("/messages", "anna").json["items"] if one["text"] == "was it taken?"]

    (first,) = soon(taken)
    answers = [node.call("POST", "/messages", body, "anna").json["id"] for _ in range(2)]
    assert answers[0] == first
    assert answers[1] != first


@pytest.mark.req("W-06", "F-21")
def test_a_key_names_the_same_message_later_and_after_a_restart(node: ApiNode) -> None:
    def again(text: str, **more: Any) -> Any:
        return node.post("/messages", {"to": HANDSET, "text": text, **more}, "anna", Idempotency_Key="a-key")

    first = again("keyed")
    soon(lambda: state(node, first.json["id"]) == "delivered")
    assert again("keyed").body == first.body
    assert again("keyed", **{"from": "+1 555 000 1111"}).body == first.body, "the same number in another spelling"
    node.kill()
    node.start()
    assert again("keyed")[:1] + again("keyed")[2:] == first[:1] + first[2:]
    other = again("something else")
    assert (other.status, other.fields) == (409, ["Idempotency-Key"])
    bert = node.post("/messages", {"to": HANDSET, "text": "b", "account": "bert"}, "op", Idempotency_Key="a-key")
    assert bert.status == 202, "another customer's keys are its own"


@pytest.mark.parametrize("key", ["", "k" * 256, "two words", "\u00e9"])
def test_invalid_keys_are_refused(node: ApiNode, key: str) -> None:
    reply = node.post("/messages", {"to": HANDSET, "text": "x"}, "anna", Idempotency_Key=key)
    assert (reply.status, reply.fields) == (422, ["Idempotency-Key"])


# --- finding ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def archive(node: ApiNode) -> dict[str, Any]:
    """A number of carla's with 240 messages of 8 people; between them, as many of somebody else's."""
    node.post("/accounts", {"name": "carla", "password": "pw"})
    node.post("/dids", {"number": "5550006666", "account": "carla"})
    node.tokens["carla"] = node.made("carla", "carla")
    base = NOW.timestamp()
    with sqlite3.connect(node.store) as db:
        (first,) = db.execute("SELECT value + 1 FROM counters WHERE name = 'message'").fetchone()
        for n in range(480):
            mine = n % 2 == 0
            way, other = ("in" if n % 3 else "out"), f"444555{n % 16 // 2:04d}"
            did = "5550006666" if mine else "5550002222"
            source, target = (other, did) if way == "in" else (did, other)
            db.execute(
                "INSERT INTO messages (id, direction, source, destination, text, origin, account, did, received_at)"
                " VALUES (?, ?, ?, ?, ?, 'test', ?, ?, ?)",
                (first + n, way, source, target, f"no {n}", "carla" if mine else "bert", did, base + n * 60),
            )
        db.execute("UPDATE counters SET value = ? WHERE name = 'message'", (first + 480,))
        for table in ("accounts", "dids"):  # what is older than they are would be somebody else's
            db.execute(f"UPDATE {table} SET created_at = 0")
    db.close()
    node.patch("/accounts/carla", {"copies": True})
    node.patch("/dids/5550006666", {"mms": True})
    return {"first": first, "ids": [first + n for n in range(0, 480, 2)][::-1]}


def walk(node: ApiNode, path: str, who: str) -> tuple[list[Any], int]:
    """All items of a list, and on how many pages."""
    found, cursor, pages = [], "", 0
    while True:
        page = node.get(f"{path}&cursor={cursor}", who).json
        found += page["items"]
        pages += 1
        if page["next"] is None:
            return found, pages
        cursor = page["next"]


@pytest.mark.parametrize("limit", [1, 7, 50, 200])
def test_pages_contain_every_message_once(node: ApiNode, archive: dict[str, Any], limit: int) -> None:
    rows, pages = walk(node, f"/messages?limit={limit}", "carla")
    assert [row["id"] for row in rows] == archive["ids"]
    assert pages >= 240 // limit


def test_filters_select_messages(node: ApiNode, archive: dict[str, Any]) -> None:
    first, base = archive["first"], NOW

    def ids(query: str) -> list[int]:
        return [row["id"] - first for row in walk(node, f"/messages?limit=100&{query}", "carla")[0]]

    everything = [one - first for one in archive["ids"]]
    assert ids("direction=out") == [n for n in everything if n % 3 == 0]
    assert ids("contact=4445550003") == [n for n in everything if n % 16 // 2 == 3]
    assert ids("contact=%2B1%20444%20555%200003") == [n for n in everything if n % 16 // 2 == 3]
    assert ids("did=5550006666&direction=in") == [n for n in everything if n % 3]
    since, until = (base + timedelta(minutes=n) for n in (100, 200))
    span = f"since={since:%Y-%m-%dT%H:%M:%SZ}&until={until:%Y-%m-%dT%H:%M:%SZ}"
    assert ids(span) == [n for n in everything if 100 <= n < 200]
    assert ids("state=failed") == []
    assert ids("state=delivered") == everything, "what has no deliveries is not waiting for any"


def test_a_contact_is_found_at_once_and_a_rare_direction_after_pages(node: ApiNode, archive: dict[str, Any]) -> None:
    """A contact has an index. Without one, a page may be empty, but the next one goes on where it ended."""
    with sqlite3.connect(node.store) as db:
        (first,) = db.execute("SELECT value + 1 FROM counters WHERE name = 'message'").fetchone()
        rows = [(first + n, "7775550001" if n == 10 else "4445557777", NOW.timestamp() + 99_999) for n in range(5000)]
        db.executemany(
            "INSERT INTO messages (id, direction, source, destination, text, account, did, received_at)"
            " VALUES (?, ?, ?, '5550006666', 'x', 'carla', '5550006666', ?)",
            ((number, "out" if source[0] == "7" else "in", source, at) for number, source, at in rows),
        )  # fmt: skip
        db.execute("UPDATE counters SET value = ? WHERE name = 'message'", (first + 5000,))
    db.close()
    rows_found, pages = walk(node, "/messages?contact=4445557777", "carla")
    assert (len(rows_found), rows_found[-1]["id"]) == (4999, first)
    rows_found, pages = walk(node, "/messages?contact=2125550000", "carla")
    assert (rows_found, pages) == ([], 1)
    rows_found, pages = walk(node, "/messages?direction=out&did=5550006666", "carla")
    assert rows_found[0]["id"] == first + 10
    assert pages >= 3


@pytest.mark.parametrize(
    "cursor", ["x", "AAAA", "WzFd" * 500, "WyJ4Il0", "W10", "WzEsMl0", "WzFlMzAwXQ", "%00", "%F0%9F%98%80"]
)
@pytest.mark.parametrize("path", ["/messages?", "/accounts?", "/blocks?", "/devices?", "/registrations?", "/queue?"])
def test_invalid_cursors_are_refused(node: ApiNode, path: str, cursor: str) -> None:
    reply = node.get(f"{path}cursor={cursor}")
    assert reply.status in (200, 422)
    if reply.status == 422:
        assert reply.fields == ["cursor"]


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "direction=up", "state=lost", "since=now",
                                   "did=5559998888", "did=x"])  # fmt: skip
def test_an_invalid_query_names_its_field(node: ApiNode, query: str) -> None:
    reply = node.get(f"/messages?{query}", "anna")
    assert (reply.status, reply.fields) == (422, [query.partition("=")[0]])


def test_conversations_are_listed_with_their_last_message(node: ApiNode) -> None:
    for text, other in (("to one", "4445550011"), ("to two", "4445550022"), ("to one again", "4445550011")):
        assert node.post("/messages", {"to": other, "text": text}, "did").status == 202
    answer = node.post("/incoming", {"from": "4445550022", "to": "5550001111", "text": "from two"})
    assert answer.status == 202
    page = node.get("/conversations?did=5550001111&limit=2", "did").json
    assert [(one["contact"], one["last_text"], one["received"], one["sent"]) for one in page["items"]] == [
        ("4445550022", "from two", 1, 1), ("4445550011", "to one again", 0, 2)
    ]  # fmt: skip
    rest = node.get(f"/conversations?did=5550001111&cursor={page['next']}", "did").json["items"]
    assert rest
    assert "4445550022" not in {one["contact"] for one in rest}
    assert node.get("/conversations", "did").fields == ["did"]


def test_route_and_incoming_answer_as_the_commands_do(node: ApiNode) -> None:
    """What `sipsms route` and `sipsms receive` do."""
    found = node.get(f"/route?from=5550001111&to={HANDSET}").json
    assert found["routes"] == [f"carrier:sim -> {HANDSET} (from 5550001111)"]
    said = json.loads(node.cli("route", "--from", "5550001111", "--to", HANDSET, "--json").stdout)
    assert said == found
    reply = node.post("/incoming", {"from": "not a number at all", "to": "5550001111", "text": "x"})
    assert reply.fields == ["from"]
    assert node.post("/incoming", {"from": HANDSET, "to": "5559998888", "text": "x"}).fields == ["to"]
