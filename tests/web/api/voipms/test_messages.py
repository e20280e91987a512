"""The VoIP.ms-compatible API: messages are sent, listed, shown and deleted."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sipsms.core.account import Did
from sipsms.core.errors import Unavailable
from sipsms.core.media_types import MAX_FILE
from sipsms.store.blocks import BY_HAND
from sipsms.web.api.voipms import messages
from sipsms.web.api.voipms.params import Call, Params, Refused
from tests.support.http.voipms_api import DID, FOREIGN, NOON, PHONE, SECOND, Rest, rest, until
from tests.support.messaging.media import JPEG, PNG

pytestmark = pytest.mark.req("S-103")
HOUR, DAY = 3600.0, 86400.0
TEXT = {"did": DID, "dst": PHONE}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Rest]:
    async with rest(tmp_path) as found:
        yield found


def at(text: str) -> float:
    """A moment, in UTC."""
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()


async def ids(site: Rest, method: str = "getMMS", name: str = "acme", **fields: Any) -> list[str]:
    if method == "getMMS":
        fields = {"all_messages": "1", **fields}
    found = await site.call(method, name, **fields)
    return [row["id"] for row in found["sms"]] if found["status"] == "success" else [found["status"]]


# --- sending ---


async def test_an_sms_is_sent(site: Rest) -> None:
    assert await site.call("sendSMS", **TEXT, message="Héllo") == {"status": "success", "sms": 1}
    assert await site.call("sendSMS", did="+1 (555) 000-1111", dst="12125550123", message="2") == {
        "status": "success",
        "sms": 2,
    }
    rows = await site.core.rows("SELECT source, destination, text, origin, account FROM messages")
    assert rows == [(DID, PHONE, "Héllo", "rest", "acme"), (DID, PHONE, "2", "rest", "acme")]


@pytest.mark.req("A-37")
@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"did": ""}, "missing_did"),
        ({"did": "5558887777"}, "invalid_did"),
        ({"did": FOREIGN}, "invalid_did"),  # another customer's
        ({"did": "abc"}, "invalid_did"),
        ({"dst": ""}, "invalid_dst"),
        ({"dst": "12"}, "invalid_dst"),
        ({"dst": "9005550123"}, "invalid_dst"),  # at a price
        ({"dst": "x" * 9000}, "invalid_dst"),
        ({"message": None}, "missing_sms"),
        ({"message": " \n"}, "message_empty"),
        ({"message": "x" * 161}, "sms_toolong"),
        ({"message": "a\0b"}, "invalid_sms"),
        ({"message": "a\ud800b"}, "invalid_sms"),
        ({"message": ["", {}]}, "message_empty"),
    ],
)
async def test_invalid_messages_get_the_status_of_voipms(site: Rest, fields: dict[str, Any], word: str) -> None:
    sent = {**site.credentials(), "method": "sendSMS", **TEXT, "message": "hello", **fields}
    body = json.dumps({name: value for name, value in sent.items() if value is not None})
    found = await site.ask("POST", data=body.encode(), headers={"Content-Type": "application/json"})
    assert found["status"] == word
    assert await site.core.rows("SELECT count(*) FROM messages") == [(0,)]


async def test_a_message_to_a_blocked_number_is_refused(site: Rest) -> None:
    await site.service.put_blocks(DID, PHONE, ("out",), active=True, by=BY_HAND)
    found = await site.call("sendSMS", **TEXT, message="hello")
    assert (found["status"], bool(found["message"])) == ("sms_failed", True)


@pytest.mark.req("S-006")
async def test_the_daily_limit_is_enforced(tmp_path: Path) -> None:
    async with rest(tmp_path, daily=2) as site:
        said = [(await site.call("sendSMS", **TEXT, message=text))["status"] for text in "abc"]
        assert said == ["success", "success", "limit_reached"]
        await site.service.set_account("acme", api_daily_limit=3)
        assert (await site.call("sendSMS", **TEXT, message="d"))["status"] == "success"
        assert (await site.call("sendSMS", **TEXT, message="e"))["status"] == "limit_reached"
        site.core.clock.now += DAY
        assert (await site.call("sendSMS", **TEXT, message="e"))["status"] == "success"


async def test_an_mms_is_sent_with_each_form_of_media(site: Rest) -> None:
    site.files["https://example.com/a/cat.jpg"] = JPEG
    coded = base64.b64encode(PNG).decode()
    ways = {
        "media1": "https://example.com/a/cat.jpg",
        "media2": f"data:image/png;base64,{coded}",
        "media3": base64.b64encode(JPEG).decode(),
    }
    found = await site.ask("POST", data={**site.credentials(), "method": "sendMMS", **TEXT, "message": "3", **ways})
    assert found == {"status": "success", "mms": 1}
    listed = await site.call("getMediaMMS", id="1")
    links = list(listed["media"].values())
    assert [link.rpartition(".")[2] for link in links] == ["jpg", "png", "jpg"]
    assert links[0].endswith("/cat.jpg")
    stored = {path.read_bytes() for path in (site.folder / "media").rglob("*") if path.is_file()}
    assert stored == {JPEG, PNG}


@pytest.mark.parametrize(
    "given",
    [
        base64.b64encode(JPEG + b"\xff\xfe\xfd").decode(),
        base64.urlsafe_b64encode(JPEG + b"\xff\xfe\xfd").decode(),
        base64.b64encode(JPEG).decode().rstrip("="),
        base64.encodebytes(JPEG * 5).decode(),
        base64.b64encode(JPEG + b"\xff\xfe\xfd").decode().replace("+", " "),
        "DATA:;BASE64," + base64.b64encode(JPEG).decode(),
    ],
)
async def test_base64_is_read_in_its_usual_variants(site: Rest, given: str) -> None:
    found = await site.call("sendMMS", **TEXT, message="", media1=given)
    assert found == {"status": "success", "mms": 1}


@pytest.mark.parametrize(
    ("media", "word"),
    [
        ("not base64!", "no_base64file"),
        ("data:image/png,%00", "no_base64file"),
        ("data:;base64,", "invalid_file"),
        ("a", "no_base64file"),
        ("http://example.com/none.jpg", "invalid_file"),
        ("http://example.com/" + "x" * 3000, "invalid_file"),
        (base64.b64encode(b"<html>").decode(), "invalid_file"),
        (base64.b64encode(JPEG + bytes(MAX_FILE)).decode(), "exceeds_file_size"),
        ("A" * (2 * 2**20), "exceeds_file_size"),
    ],
)
async def test_invalid_files_are_refused(site: Rest, media: str, word: str) -> None:
    data = {**site.credentials(), "method": "sendMMS", **TEXT, "message": "x", "media1": media}
    assert (await site.ask("POST", data=data))["status"] == word
    assert await site.core.rows("SELECT count(*) FROM messages") == [(0,)]


async def test_a_file_of_the_maximum_size_is_accepted(site: Rest) -> None:
    whole = base64.b64encode(JPEG + bytes(MAX_FILE - len(JPEG))).decode()
    data = {**site.credentials(), "method": "sendMMS", **TEXT, "message": "x", "media1": whole}
    assert (await site.ask("POST", data=data))["status"] == "success"
    assert (await site.ask("POST", data={**data, "media4": whole[:40]}))["status"] == "invalid_file"


async def test_a_long_text_by_mms_is_sent_as_a_text(site: Rest) -> None:
    """Without a file it is a text: the carrier's settings say how it travels."""
    assert (await site.call("sendMMS", **TEXT, message="x" * 2048))["mms"] == 1
    assert (await site.call("sendMMS", **TEXT, message="x" * 2049))["status"] == "sms_toolong"
    assert (await site.call("sendMMS", **TEXT))["status"] == "missing_sms"


# --- lists ---


async def test_a_message_row_is_the_same_octet_by_octet(site: Rest) -> None:
    number = await site.receive("MMS avec image +1 %41 é", media=("https://carrier.example/a/media.png",))
    (row,) = (await site.call("getMMS"))["sms"]
    assert row == {
        "id": str(number), "date": "2026-10-02 13:00:00", "type": "1", "did": DID, "contact": PHONE,
        "carrier_status": "Information not available", "message": "MMS avec image +1 %41 é",
        "col_media1": "https://carrier.example/a/media.png", "col_media2": "", "col_media3": "",
        "media": ["https://carrier.example/a/media.png"],
    }  # fmt: skip


async def test_messages_are_listed_newest_first_and_by_kind(site: Rest) -> None:
    """Newest first; SMS and MMS apart, or together; one sequence of ids."""
    assert await ids(site) == ["no_sms"]
    first = await site.receive("one", at=NOON)
    second = await site.receive("two", source="3125550000", media=("https://carrier.example/b.jpg",))
    third = (await site.call("sendSMS", did=SECOND, dst=PHONE, message="three"))["sms"]
    assert (first, second, third) == (1, 2, 3)
    assert await ids(site) == ["3", "2", "1"]
    assert await ids(site, "getSMS") == ["3", "1"]
    assert await ids(site, "getSMS", all_messages="1") == ["3", "2", "1"]
    assert await ids(site, all_messages="0") == ["2"]
    assert await ids(site, type="1") == ["2", "1"]
    assert await ids(site, type="0") == ["3"]
    assert await ids(site, did=SECOND) == ["3"]
    assert await ids(site, contact="+13125550000") == ["2"]
    assert await ids(site, contact=PHONE, did=DID) == ["1"]
    assert await ids(site, limit="2") == ["3", "2"]
    assert await ids(site, limit="1000000") == ["3", "2", "1"]
    assert await ids(site, limit="0") == ["3", "2", "1"]
    assert await ids(site, "getSMS", sms="1") == ["1"]
    assert await ids(site, "getSMS", sms="2") == ["no_sms"]
    assert await ids(site, mms="0") == ["3", "2", "1"], "0 is any"
    assert await ids(site, mms="2", **{"from": "2020-01-01", "to": "2020-01-01"}) == ["2"]
    words = {
        "type": "invalid_type", "contact": "invalid_contact", "did": "invalid_did", "timezone": "invalid_timezone",
        "from": "invalid_date_from", "to": "invalid_date", "mms": "invalid_id",
    }  # fmt: skip
    for name, word in words.items():
        assert await ids(site, **{name: "?!"}) == [word]


async def test_the_number_of_rows_is_limited(site: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MAX_ROWS", 60)
    for number in range(70):
        await site.receive(f"{number}")
    assert len(await ids(site)) == 50
    assert len(await ids(site, limit="1000000")) == 60


class Slow:
    """A store whose lists take until they may go on; the second fails."""

    def __init__(self) -> None:
        self.asked = 0
        self.go_on = asyncio.Event()

    async def read(self, query: Any) -> list[bytes]:
        self.asked += 1
        fails = self.asked == 2
        await self.go_on.wait()
        if fails:
            raise Unavailable("disk is gone")
        return [b"{}"]


async def test_two_lists_of_a_customer_wait_and_others_do_not_wait_for_them(site: Rest) -> None:
    """One is read at a time. Two of a customer wait; another customer's do not wait behind more of them."""
    slow = Slow()
    directory = site.core.directory
    nothing: Any = None
    methods = messages.Messages(nothing, directory, slow, nothing, site.core.clock).methods()  # type: ignore

    def ask(method: str, name: str) -> asyncio.Task[Any]:
        account = directory.account(name)
        assert account is not None
        return asyncio.create_task(methods[method](Call(account, Params({}), "")))  # type: ignore

    under_way = [ask("getSMS", "acme"), ask("getMMS", "acme"), ask("getSMS", "other")]
    await until(lambda: slow.asked)
    for method in ("getSMS", "getMMS"):
        with pytest.raises(Refused, match="api_limit_exceeded"):
            await asyncio.wait_for(ask(method, "acme"), 2)
    assert slow.asked == 1
    slow.go_on.set()
    first, failed, third = await asyncio.gather(*under_way, return_exceptions=True)
    assert first == third == b'{"status":"success","sms":[{}]}'
    assert isinstance(failed, Unavailable)
    assert len(await asyncio.gather(ask("getSMS", "acme"), ask("getMMS", "acme"))) == 2, "all places are free again"


async def test_the_size_of_a_list_is_limited(site: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand long texts must not fill the memory. The newest are there."""
    for number in range(20):
        await site.receive(f"{number} " + "é" * 1000)
    monkeypatch.setattr(messages, "MAX_LIST", 50_000)
    found = await ids(site)
    assert found == [str(number) for number in range(20, 20 - len(found), -1)]
    assert 6 <= len(found) <= 9


async def test_messages_from_alphanumeric_senders_are_left_out(site: Rest) -> None:
    """One such row, and the Android application takes none of the list."""
    await site.receive("from a bank", source="MyBank")
    await site.receive("from a short code", source="72345")
    await site.receive("from abroad", source="+447911123456")
    contacts = [row["contact"] for row in (await site.call("getMMS", all_messages="1"))["sms"]]
    assert contacts == ["+447911123456", "72345"]


async def test_days_are_those_of_new_york(site: Rest) -> None:
    moments = ("2026-10-02 03:59:59", "2026-10-02 04:00:00", "2026-10-03 03:59:59", "2026-10-03 04:00:00")
    for moment in moments:
        await site.receive(moment, at=at(moment))
    site.core.clock.now = NOON
    assert await ids(site) == ["3", "2"], "today"
    day = {"from": "2026-10-02", "to": "2026-10-02"}
    assert await ids(site, **day) == ["3", "2"]
    assert await ids(site, **day, timezone="-5") == ["3", "2"]
    assert await ids(site, **day, timezone="-4") == ["2", "1"], "an hour later: another day begins and ends there"
    assert await ids(site, **day, timezone="0") == ["2", "1"], "five hours later"
    assert await ids(site, **{"from": "2026-10-01 00:00:00", "to": "2026-10-01 23:59:59"}) == ["1"]
    rows = (await site.call("getMMS", all_messages="1", **day, timezone="-5"))["sms"]
    assert [row["date"] for row in rows] == ["2026-10-02 23:59:59", "2026-10-02 00:00:00"]
    (row,) = (await site.call("getSMS", sms="2", timezone="0"))["sms"]
    assert row["date"] == "2026-10-02 05:00:00"


async def test_both_hours_of_the_end_of_summer_time_are_listed(site: Rest) -> None:
    """1 November 2026 has 25 hours: the clock shows 01:30 twice, and both are listed, with winter's time after that."""
    for moment in ("2026-11-01 04:00:00", "2026-11-01 05:30:00", "2026-11-01 06:30:00", "2026-11-02 04:59:59"):
        await site.receive(moment, at=at(moment))
    site.core.clock.now = at("2026-11-05 12:00:00")
    rows = (await site.call("getMMS", all_messages="1", **{"from": "2026-11-01", "to": "2026-11-01"}))["sms"]
    assert [row["date"][11:] for row in rows] == ["23:59:59", "01:30:00", "01:30:00", "00:00:00"]


async def test_a_range_of_days_limits_the_list(site: Rest) -> None:
    await site.receive("old", at=NOON - 92 * DAY)
    site.core.clock.now = NOON
    assert await ids(site, **{"from": "2026-07-02"}) == ["1"]
    assert await ids(site, **{"from": "2026-07-01"}) == ["invalid_daterange"]
    assert await ids(site, **{"from": "2026-07-01", "to": "2026-09-30"}) == ["1"]
    assert await ids(site, **{"from": "2026-10-02", "to": "2026-10-01"}) == ["invalid_daterange"]
    assert await ids(site, to="2026-07-02") == ["1"]
    for ahead in ("2026-10-03", "2027-01-01", "2200-12-31"):
        assert await ids(site, **{"from": ahead}) == ["no_sms"]
    for wrong in ("2026-13-01", "2026-02-30", "0000-00-00", "9999-12-31", "yesterday", "20261002", "x" * 999):
        assert await ids(site, **{"from": wrong}) == ["invalid_date_from"]
        assert await ids(site, to=wrong) == ["invalid_date"]


async def test_the_media_of_an_mms_are_shown(site: Rest) -> None:
    links = tuple(f"https://carrier.example/{n}.jpg" for n in range(5))
    number = await site.receive("five", media=links)
    found = await site.call("getMediaMMS", id=str(number))
    media = {str(n): link for n, link in enumerate(links, 1)}
    assert found == {"status": "success", "id": "1", "date": "2026-10-02 13:00:00", "media": media}
    assert (await site.call("getMediaMMS", id="1", media_as_array="1"))["media"] == list(links)
    (row,) = (await site.call("getMMS"))["sms"]
    assert [row[f"col_media{n}"] for n in range(1, 6)] == list(links)
    assert (await site.call("getMediaMMS"))["status"] == "missing_id"
    for wrong in ("2", "x", "-1", "9" * 19, "9" * 30, "١"):
        assert (await site.call("getMediaMMS", id=wrong))["status"] == "invalid_id"


# --- deleting ---


async def test_a_deleted_message_is_not_listed(site: Rest) -> None:
    await site.receive("keep")
    await site.receive("delete")
    await site.receive("delete", media=("https://carrier.example/a.jpg",))
    assert await site.call("deleteSMS", id="2") == {"status": "success"}
    assert await site.call("deleteMMS", id="3") == {"status": "success"}
    assert await ids(site) == ["1"]
    assert await ids(site, "getSMS", sms="2") == ["no_sms"]
    assert (await site.call("getMediaMMS", id="3"))["status"] == "invalid_id"
    assert (await site.call("deleteSMS", id="2"))["status"] == "invalid_id"
    assert (await site.call("deleteSMS"))["status"] == "missing_id"
    assert await site.core.rows("SELECT count(*) FROM messages") == [(3,)], "the operator's record stays"


@pytest.mark.req("W-07", "A-37")
async def test_messages_of_another_customer_cannot_be_read_or_deleted(site: Rest) -> None:
    """As if there were no such message: the answers are the same, and nothing is changed."""
    theirs = await site.receive("secret", did=FOREIGN, media=("https://carrier.example/a.jpg",))
    none = "77777"
    for method, name in (("getMediaMMS", "id"), ("deleteSMS", "id"), ("deleteMMS", "id"), ("getSMS", "sms")):
        one, other = await site.call(method, **{name: str(theirs)}), await site.call(method, **{name: none})
        assert one == other, method
        assert one["status"] in ("invalid_id", "no_sms")
    assert await ids(site, did=FOREIGN) == await ids(site, did="5558887777") == ["invalid_did"]
    assert await ids(site) == ["no_sms"]
    assert await ids(site, name="other") == [str(theirs)]


@pytest.mark.req("W-07", "A-37")
async def test_guessed_ids_reveal_no_message_of_another_customer(site: Rest) -> None:
    for number in range(40):
        await site.receive(f"theirs {number}", did=FOREIGN)
    rng = random.Random(7)
    for number in [*range(41), *(rng.randrange(2**63) for _ in range(1000))]:
        for method, name in (("getMediaMMS", "id"), ("getSMS", "sms"), ("deleteSMS", "id")):
            found = await site.call(method, **{name: str(number)})
            assert found["status"] in ("invalid_id", "no_sms"), number
    assert await ids(site, limit="1000", name="other") == [str(n) for n in range(40, 0, -1)]


@pytest.mark.req("A-37")
async def test_messages_from_before_a_did_moved_are_hidden(site: Rest) -> None:
    """What came to it before is not read by its new customer, nor by the old one."""
    old = await site.receive("for the old customer", did=FOREIGN)
    site.core.directory.update(9, False, [], [Did(FOREIGN, "acme", since=site.core.clock.now + 1)], frozenset())
    site.core.clock.now += 2
    new = await site.receive("for the new one", did=FOREIGN)
    assert await ids(site, did=FOREIGN) == [str(new)]
    assert await ids(site, "getSMS", sms=str(old)) == ["no_sms"]
    assert (await site.call("deleteSMS", id=str(old)))["status"] == "invalid_id"
    assert await ids(site, name="other") == ["no_sms"]
