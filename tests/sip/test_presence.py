"""RFC 6665, RFC 3856 and RFC 3903 without a socket: subscriptions, publications, who may know, and the bounds."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from sipsms.core.account import Account
from sipsms.sip import pidf
from sipsms.sip.message import Request, parse_datagram
from sipsms.sip.presence import Limits, Presence, Result, Subscription, is_number, may_watch

NOW = 1_000_000.0
DOMAIN = "example.com"
OPEN = pidf.compose("sip:alice@example.com", is_open=True)
CLOSED = pidf.compose("sip:alice@example.com", is_open=False)
TAGS = (f"t{number}" for number in itertools.count())


class World:
    """Alice with a subaccount, and Mallory, who is another customer."""

    def __init__(self, **limits: int) -> None:
        self.accounts = {
            one.name: one
            for one in (Account("alice"), Account("alice-sub", "alice"), Account("mallory"), Account("5551234567"))
        }
        self.presence = Presence(DOMAIN, 60, 7200, replace(Limits(), **limits))

    def change(self, name: str, **values: Any) -> list[Subscription]:
        self.accounts[name] = replace(self.accounts[name], **values)
        return self.presence.review([name], self.accounts.get)

    def subscribe(
        self, to: str = "alice-sub", *headers: str, by: str = "alice", now: float = NOW, **more: str
    ) -> Result:
        request = _request("SUBSCRIBE", to, *headers, **more)
        return self.presence.subscribe(request, self.accounts[by], self.accounts.get, now, next(TAGS))

    def subscribed(self, to: str = "alice-sub", *headers: str, by: str = "alice", now: float = NOW) -> Subscription:
        found = self.subscribe(to, *headers, by=by, now=now).subscription
        assert found is not None
        return found

    def again(self, subscription: Subscription, *headers: str, cseq: int = 2, now: float = NOW, by: str = "") -> Result:
        more = {
            "call_id": subscription.call_id,
            "to_tag": subscription.local_tag,
            "from_tag": subscription.remote_tag,
            "cseq": str(cseq),
        }
        return self.subscribe("", *headers, by=by or subscription.watcher, now=now, **more)

    def publish(self, body: bytes = OPEN, *headers: str, by: str = "alice", to: str = "", now: float = NOW) -> Result:
        content = ("Content-Type: application/pidf+xml",) if body and "Content-Type" not in "".join(headers) else ()
        request = _request("PUBLISH", to or by, *headers, *content, body=body)
        return self.presence.publish(request, self.accounts[by], now, next(TAGS))

    def document(self, subscription: Subscription, *, bound: bool = False, now: float = NOW, room: int = 8192) -> bytes:
        return self.presence.document(subscription, now, room, bound=bound)

    def is_open(self, subscription: Subscription, *, bound: bool = False, now: float = NOW, room: int = 8192) -> bool:
        return pidf.read(self.document(subscription, bound=bound, now=now, room=room)).is_open


IDS = (f"c{number}" for number in itertools.count())


def _request(
    method: str, to: str, *headers: str, body: bytes = b"", call_id: str = "", to_tag: str = "", from_tag: str = "f",
    cseq: str = "1", contact: str = "<sip:alice@192.0.2.1:5070>",
) -> Request:  # fmt: skip
    uri = f"sip:{to}@{DOMAIN}" if to else f"sip:{DOMAIN}"
    lines = [
        f"{method} {uri} SIP/2.0",
        "Via: SIP/2.0/UDP h;branch=z9hG4bK1",
        f"From: <sip:alice@example.com>;tag={from_tag}",
        f"To: <{uri}>" + (f";tag={to_tag}" if to_tag else ""),
        f"Call-ID: {call_id or next(IDS)}",
        f"CSeq: {cseq} {method}",
        *([f"Contact: {contact}"] if contact and method == "SUBSCRIBE" else []),
        *([] if any(one.startswith("Event") for one in headers) else ["Event: presence"]),
        *(one for one in headers if one != "Event"),
    ]
    request = parse_datagram(("\r\n".join(lines) + f"\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body)
    assert isinstance(request, Request)
    return request


def _header(result: Result, name: str) -> str:
    return dict(result.headers)[name]


@pytest.fixture
def world() -> World:
    return World()


# --- SUBSCRIBE -------------------------------------------------------------------------------------------------------


@pytest.mark.req("C-126")
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], 3600), (["Expires: 60"], 60), (["Expires: 600"], 600), (["Expires: 99999999"], 3600),
        (["Expires: soon"], 3600), (["Expires: -1"], 3600), (["Expires: 99999999999999"], 3600),
    ],
)  # fmt: skip
def test_the_expiry_of_a_subscription_is_limited(world: World, headers: list[str], seconds: int) -> None:
    result = world.subscribe("alice-sub", *headers)
    assert (result.status, _header(result, "Expires")) == (200, str(seconds))
    assert result.subscription is not None
    assert result.subscription.expires_at == NOW + seconds


@pytest.mark.req("C-126")
def test_a_subscription_is_answered_by_a_notify(world: World) -> None:
    subscription = world.subscribed(
        "alice-sub", "Event: presence;id=7", "Expires: 600", "Record-Route: <sip:p1;lr>, <sip:p2;lr>"
    )
    request = world.presence.notify(subscription, NOW + 10, "sip:server", b"doc")
    assert request.to_bytes().decode().split("\r\n") == [
        "NOTIFY sip:alice@192.0.2.1:5070 SIP/2.0", "Route: <sip:p1;lr>", "Route: <sip:p2;lr>", "Max-Forwards: 70",
        f"From: <sip:alice-sub@example.com>;tag={subscription.local_tag}", "To: <sip:alice@example.com>;tag=f",
        f"Call-ID: {subscription.call_id}", "CSeq: 1 NOTIFY", "Contact: <sip:server>", "Event: presence;id=7",
        "Subscription-State: active;expires=590", "Content-Type: application/pidf+xml", "Content-Length: 3", "", "doc",
    ]  # fmt: skip
    assert world.presence.notify(subscription, NOW, "sip:server", b"").headers["cseq"] == ["2 NOTIFY"]


@pytest.mark.req("C-126")
@pytest.mark.parametrize(
    ("headers", "status", "extra"),
    [
        (["Event: message-summary"], 489, ("Allow-Events", "presence")),
        (["Event: presence.winfo"], 489, ("Allow-Events", "presence")),
        (["Event"], 489, ("Allow-Events", "presence")),
        (["Event: presence;id=a b"], 400, None),
        (["Event: presence;id=" + "x" * 65], 400, None),
        (["Accept: application/xpidf+xml"], 406, ("Accept", "application/pidf+xml")),
        (["Accept: text/plain, application/pidf+xml;q=0.5"], 200, None),
        (["Accept: */*"], 200, None),
        (["Expires: 5"], 423, ("Min-Expires", "60")),
        (["Record-Route: nonsense"], 400, None),
        (["Record-Route: <sip:" + "a" * 1000 + ";lr>"] * 5, 400, None),
    ],
)
def test_invalid_subscriptions_are_refused(
    world: World, headers: list[str], status: int, extra: tuple[str, str] | None
) -> None:
    result = world.subscribe("alice-sub", *headers)
    assert result.status == status
    if extra is not None:
        assert extra in result.headers
    assert len(world.presence) == (1 if status == 200 else 0)


@pytest.mark.parametrize("contact", ["", "*", "<tel:911>", "<sip:a@h>, <sip:b@h>"])
def test_a_dialog_needs_one_sip_contact(world: World, contact: str) -> None:
    assert world.subscribe(contact=contact).status == 400


def test_a_tag_is_a_token(world: World) -> None:
    assert world.subscribe(from_tag='"a;b=c"').status == 400
    assert world.subscribe(from_tag="a.B-c").status == 200


def test_header_fields_in_the_contact_do_not_become_part_of_the_request_uri(world: World) -> None:
    subscription = world.subscribe(contact="<sip:a@192.0.2.1;x=y?Subject=hi>").subscription
    assert subscription is not None
    assert subscription.contact == "sip:a@192.0.2.1;x=y"


@pytest.mark.req("C-126")
def test_a_refresh_extends_the_subscription(world: World) -> None:
    subscription = world.subscribed("alice-sub", "Expires: 100")
    assert world.again(subscription, "Expires: 5").status == 423
    result = world.again(subscription, "Expires: 200", cseq=3, now=NOW + 90)
    assert (result.status, result.subscription) == (200, subscription)
    assert subscription.expires_at == NOW + 290
    assert world.presence.expire(NOW + 289) == ([], [])
    assert world.again(subscription, cseq=3).status == 500
    assert world.again(subscription, cseq=1).status == 500
    assert world.presence.expire(NOW + 290) == ([subscription], [])
    assert subscription.ended == "timeout"
    assert world.again(subscription, cseq=4).status == 481


def test_a_refresh_by_another_account_is_refused(world: World) -> None:
    subscription = world.subscribed()
    assert world.again(subscription, by="mallory").status == 481
    assert world.again(subscription, "Event: presence;id=2").status == 481
    assert world.again(replace(subscription, local_tag="other")).status == 481
    assert world.again(subscription).status == 200


@pytest.mark.req("C-126")
def test_an_expiry_of_zero_ends_the_subscription_or_fetches_once(world: World) -> None:
    """In the dialog it ends the subscription, before one it is a single look; no change is told to either."""
    subscription = world.subscribed()
    look = world.subscribed("alice-sub", "Expires: 0")
    result = world.again(subscription, "Expires: 0")
    assert (result.status, _header(result, "Expires"), result.subscription) == (200, "0", subscription)
    for each in (subscription, look):
        assert each.ended == "timeout"
        state = world.presence.notify(each, NOW, "sip:s", b"").get("subscription-state")
        assert state == "terminated;reason=timeout"
    assert world.presence.watchers("alice-sub") == []
    assert world.again(subscription, cseq=3).status == 481
    world.presence.forget(subscription)
    world.presence.forget(look)
    assert len(world.presence) == 0
    assert world.presence.expire(NOW + 9999) == ([], [])


# --- who may watch whom ----------------------------------------------------------------------------------------------


@pytest.mark.req("C-126", "A-07")
def test_accounts_that_may_not_be_watched_and_unknown_accounts_look_the_same(world: World) -> None:
    """Another customer's account, no account, one that is switched off, one that is disabled: the same answer."""
    world.accounts["alice-off"] = Account("alice-off", "alice", presence=False)
    world.accounts["alice-out"] = Account("alice-out", "alice", enabled=False)
    answers = {world.subscribe(name) for name in ("mallory", "nobody", "alice-off", "alice-out", "ALICE", "100001")}
    assert len(answers) == 1
    assert answers.pop().status == 403


@pytest.mark.req("C-126")
def test_presence_can_be_switched_off_for_each_account(world: World) -> None:
    world.change("alice", presence=False)
    assert world.subscribe("alice-sub").status == 403
    assert world.subscribe("5557654321").status == 403
    assert world.publish().status == 403


def test_only_accounts_of_the_same_customer_may_watch() -> None:
    alice, sub, other = Account("alice"), Account("sub", "alice"), Account("alice2", "bob")
    assert may_watch(alice, sub)
    assert may_watch(sub, alice)
    assert may_watch(sub, sub)
    assert not may_watch(alice, other)
    assert not may_watch(alice, None)
    assert not may_watch(None, alice)


@pytest.mark.req("S-084", "S-087")
@pytest.mark.parametrize("user", ["5551112222", "15551112222", "%2B15551112222", "+442071838750", "5551234567"])
def test_a_telephone_number_is_always_open(world: World, user: str) -> None:
    """Also where an account of somebody else has a number for a name: no oracle either."""
    subscription = world.subscribed(user)
    assert subscription.watched == ""
    assert world.is_open(subscription)


def test_only_telephone_numbers_count_as_numbers() -> None:
    assert is_number("5551112222")
    assert not any(is_number(user) for user in ("", "alice", "100001", "911", "12345678", "555111222x", "\udc80"))


@pytest.mark.req("C-126")
def test_switching_presence_off_ends_its_subscriptions(world: World) -> None:
    down, up = world.subscribed("alice-sub", by="alice"), world.subscribed("alice", by="alice-sub")
    number, own = world.subscribed("5551112222"), world.subscribed("alice")
    assert world.change("mallory", presence=False) == []
    assert set(world.change("alice-sub", presence=False)) == {down, up}
    assert {down.ended, up.ended} == {"rejected"}
    rejected = world.presence.notify(down, NOW, "sip:s", b"secret")
    assert rejected.get("subscription-state") == "terminated;reason=rejected"
    assert rejected.body == b""
    assert world.change("alice-sub", presence=False) == []  # once
    del world.accounts["alice"]
    assert set(world.presence.review(None, world.accounts.get)) == {number, own}


def test_switching_presence_off_removes_its_publications(world: World) -> None:
    world.publish(by="alice-sub", body=pidf.compose("sip:alice-sub@x", is_open=True))
    world.change("alice-sub", presence=False)
    world.change("alice-sub", presence=True)
    assert not world.is_open(world.subscribed())


# --- PUBLISH ---------------------------------------------------------------------------------------------------------


@pytest.mark.req("C-125")
def test_a_publication_is_created_refreshed_modified_and_removed(world: World) -> None:
    """RFC 3903 table 1: initial, refresh, modify, remove; a new entity-tag each time, the old one is gone."""
    subscription = world.subscribed("alice", by="alice-sub")
    initial = world.publish(OPEN, "Expires: 600")
    assert (initial.status, _header(initial, "Expires"), initial.changed) == (200, "600", True)
    assert world.document(subscription) == OPEN
    etag = _header(initial, "SIP-ETag")
    refresh = world.publish(b"", f"SIP-If-Match: {etag}", now=NOW + 500)
    assert (refresh.status, refresh.changed) == (200, False)
    assert world.publish(b"", f"SIP-If-Match: {etag}").status == 412
    etag = _header(refresh, "SIP-ETag")
    modify = world.publish(CLOSED, f"SIP-If-Match: {etag}")
    assert (modify.status, modify.changed) == (200, True)
    assert world.document(subscription) == CLOSED
    last = _header(modify, "SIP-ETag")
    assert len({_header(initial, "SIP-ETag"), etag, last}) == 3
    remove = world.publish(b"", f"SIP-If-Match: {last}", "Expires: 0")
    assert (remove.status, remove.changed) == (200, True)
    assert world.publish(b"", f"SIP-If-Match: {last}").status == 412
    assert world.presence.expire(NOW + 9999) == ([subscription], [])


@pytest.mark.req("C-125")
@pytest.mark.parametrize(
    ("body", "headers", "status", "extra"),
    [
        (OPEN, ["SIP-If-Match: nonsense"], 412, None),
        (OPEN, ["SIP-If-Match: a", "SIP-If-Match: b"], 400, None),
        (OPEN, ["Event: dialog"], 489, ("Allow-Events", "presence")),
        (OPEN, ["Event"], 489, ("Allow-Events", "presence")),
        (OPEN, ["Expires: 5"], 423, ("Min-Expires", "60")),
        (OPEN, ["Content-Type: text/plain"], 415, ("Accept", "application/pidf+xml")),
        (OPEN, ["Content-Encoding: gzip"], 415, ("Accept-Encoding", "identity")),
        (OPEN + b" " * 8192, [], 413, None),
        (b"<presence>", [], 400, None),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><presence>&b;</presence>', [], 400, None),
        (b"", [], 400, None),
        (b"", ["Expires: 0"], 200, None),
    ],
)
def test_invalid_publications_are_refused(
    world: World, body: bytes, headers: list[str], status: int, extra: tuple[str, str] | None
) -> None:
    result = world.publish(body, *headers)
    assert result.status == status
    assert not result.changed
    if extra is not None:
        assert extra in result.headers


def test_an_account_publishes_only_its_own_presence(world: World) -> None:
    assert world.publish(to="alice-sub").status == 403
    assert world.publish(to="nobody").status == 403
    etag = _header(world.publish(), "SIP-ETag")
    assert world.publish(b"", f"SIP-If-Match: {etag}", by="alice-sub").status == 412


def test_the_notify_shows_the_published_or_the_registered_state(world: World) -> None:
    """One document of the account's own is passed on if it fits; else open is who is bound or says so."""
    subscription = world.subscribed("alice", by="alice-sub")
    assert world.is_open(subscription, bound=True)
    assert not world.is_open(subscription)
    world.publish(CLOSED, "Expires: 100")
    assert world.document(subscription, bound=True) == CLOSED
    assert world.is_open(subscription, bound=True, room=10)
    world.publish(OPEN, "Expires: 200")
    assert world.is_open(subscription)
    assert world.document(subscription, now=NOW + 150) == OPEN  # the first is over, swept or not
    assert not world.is_open(subscription, now=NOW + 250)
    assert world.presence.expire(NOW + 250) == ([], ["alice"])


def test_a_document_about_another_entity_is_not_passed_on(world: World) -> None:
    subscription = world.subscribed("alice", by="alice-sub")
    world.publish(pidf.compose("sip:bank@example.com", is_open=True))
    assert world.document(subscription) == pidf.compose("sip:alice@example.com", is_open=True)


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_subscriptions_of_an_account_are_bounded() -> None:
    """A look that nobody has answered yet counts too."""
    world = World(subscriptions_per_account=3)
    kept = [world.subscribed(), world.subscribed("alice-sub", "Expires: 0"), world.subscribed("5551112222")]
    refused = world.subscribe()
    assert (refused.status, _header(refused, "Retry-After")) == (480, "60")
    assert world.subscribe("alice", by="alice-sub").status == 200
    assert world.again(kept[0]).status == 200
    world.presence.forget(kept[1])
    assert world.subscribe().status == 200


def test_subscriptions_are_bounded() -> None:
    world = World(subscriptions=2)
    world.subscribed()
    world.subscribed()
    refused = world.subscribe("alice", by="alice-sub")
    assert (refused.status, _header(refused, "Retry-After")) == (503, "60")


def test_publications_are_bounded() -> None:
    world = World(publications_per_account=2, publications=3)
    etag = _header(world.publish(), "SIP-ETag")
    world.publish()
    assert world.publish().status == 480
    assert world.publish(CLOSED, f"SIP-If-Match: {etag}").status == 200
    assert world.publish(by="alice-sub").status == 200
    assert world.publish(by="alice-sub").status == 503


def test_published_bytes_are_bounded() -> None:
    world = World(published_bytes=len(OPEN) + len(CLOSED) - 1)
    etag = _header(world.publish(OPEN), "SIP-ETag")
    assert world.publish(CLOSED).status == 503
    etag = _header(world.publish(CLOSED, f"SIP-If-Match: {etag}"), "SIP-ETag")
    assert world.publish(b"", f"SIP-If-Match: {etag}", "Expires: 0").status == 200
    assert world.publish(OPEN).status == 200


def test_ended_subscriptions_leave_nothing_in_memory(world: World) -> None:
    for _ in range(2000):
        subscription = world.subscribed()
        etag = _header(world.publish(), "SIP-ETag")
        world.again(subscription, "Expires: 0")
        world.presence.forget(subscription)
        world.publish(b"", f"SIP-If-Match: {etag}", "Expires: 0")
    presence = world.presence
    tables = (
        presence._subscriptions, presence._dialogs, presence._by_watcher, presence._by_watched,
        presence._publications, presence._published, presence._subscription_ends, presence._publication_ends,
    )  # fmt: skip
    assert [len(table) for table in tables] == [0] * 8
    assert presence._published_bytes == 0


def test_notifies_are_sent_at_a_bounded_rate(world: World) -> None:
    """RFC 3856 section 6.10: five at once, then one in five seconds."""
    subscription, told = world.subscribed(), 0
    for tenth in range(1000):
        now = NOW + tenth / 10
        if world.presence.may_notify(subscription, now):
            world.presence.notify(subscription, now, "sip:s", b"")
            told += 1
    assert 23 <= told <= 25
