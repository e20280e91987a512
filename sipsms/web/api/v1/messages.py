"""Routes of /v1 for messages, conversations and media, and for explaining a route."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from sipsms.core.courier_id import CourierId
from sipsms.core.e164 import normalise
from sipsms.core.media_types import EXTENSIONS, safe_name
from sipsms.core.message import Direction, Media, Message
from sipsms.core.refusal import Refusal
from sipsms.core.segmentation import encoding_of, segments
from sipsms.messaging.carrier import InboundSms
from sipsms.messaging.explain import explain
from sipsms.store import message_list
from sipsms.web.api.v1 import schemas as m
from sipsms.web.api.v1.dependencies import Api, Reach, Services, services_of
from sipsms.web.api.v1.middleware import ORIGIN
from sipsms.web.api.v1.paging import Cursor, Limit, found_page, number_after, pack
from sipsms.web.api.v1.permissions import ALL, CUSTOMERS, OPERATOR, Permissions
from sipsms.web.api.v1.problems import Problem, missing, wrong
from sipsms.web.api.v1.send import seconds, send

Id = Annotated[int, Path(ge=1, lt=2**62)]
Given = Annotated[str, Query(max_length=64)]
When = Annotated[str | None, Query(pattern=m.TIME, max_length=40, description="RFC 3339, as 2026-11-22T08:00:00Z")]
State = Literal["queued", "sending", "accepted", "delivered", "unknown", "failed", "expired"]

_MEDIA_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, no-store",
}
_FILE: Final = {"schema": {"type": "string", "format": "binary"}}
_KINDS: Final = dict.fromkeys((*EXTENSIONS, "application/octet-stream"), _FILE)
_MEDIA: Final[dict[int | str, dict[str, Any]]] = {200: {"content": _KINDS}}
_SENT: Final[dict[int | str, dict[str, Any]]] = {
    202: {"model": m.MessageAccepted, "description": "Stored; it is on its way"}
}

router = APIRouter(tags=["messages"])


@router.post(
    "/messages", response_model=None, status_code=202, responses=_SENT,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/MessageGiven"}}},
        },
        "parameters": [
            {
                "name": "Idempotency-Key", "in": "header", "required": False,
                "description": "The same key again is the same message: one is sent, and the answer is the same",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]{1,255}$"},
            }
        ],
    },
)  # fmt: skip
async def send_message(request: Request) -> Response:
    """Send an SMS, or with `media` an MMS. Every scope, from its own numbers."""
    return await send(services_of(request), request)


@router.get("/messages", response_model=m.Page[m.MessageShown])
async def list_messages(
    api: Api,
    reach: Reach,
    did: Given = "",
    contact: Annotated[str, Query(max_length=64, description="The other side's number")] = "",
    direction: Literal["in", "out"] | None = None,
    state: State | None = None,
    since: When = None,
    until: When = None,
    limit: Limit = 50,
    cursor: Cursor = "",
) -> Any:
    """List messages, newest first.

    A page may be short or even empty although `next` is set, because one request examines at most 2,000
    messages."""
    reach.need(ALL)
    wanted = message_list.Wanted(
        numbers=[reach.named_did(did, "did").number] if did else _numbers(reach),
        contact=normalise(contact) or contact, direction=direction or "", state=state or "",
        since=seconds(since, "since") if since else None, until=seconds(until, "until") if until else None,
        before=number_after(cursor) or None, limit=limit,
    )  # fmt: skip
    rows, last = await api.store.read(lambda db: message_list.list_messages(db, wanted, reach.sees))
    return found_page([_shown(row, reach) for row in rows], last)


@router.get("/messages/{message}", response_model=m.MessageWhole)
async def get_message(api: Api, reach: Reach, message: Id) -> Any:
    """Return a message with its deliveries and every attempt."""
    return _shown(await _seen(api, reach, message), reach)


@router.post("/messages/{message}/cancel", response_model=m.Count)
async def cancel_message(api: Api, reach: Reach, message: Id) -> Any:
    """Cancel a message's deliveries that have not been sent.

    `count`: deliveries that were cancelled. With scope did, only messages sent from the DID can be cancelled."""
    found = await _seen(api, reach, message)
    if found["direction"] == "in":  # an incoming message waits for phones of the account
        reach.need(CUSTOMERS)
    count = await api.service.cancel(message)
    if count:
        api.messaging.feed.note(_event_of(found), "failed", "", "cancelled")
    return {"count": count}


@router.get("/messages/{message}/media/{index}", response_class=Response, responses=_MEDIA)
async def get_media(api: Api, reach: Reach, message: Id, index: Annotated[int, Path(ge=0, lt=100)]) -> Response:
    """Return one file of an MMS as an attachment."""
    found = await _seen(api, reach, message)
    if index >= len(found["media"]):
        raise missing()
    media = Media(**found["media"][index])
    try:
        data = await api.files.read(media)
    except OSError:
        raise missing() from None
    kind = media.content_type if media.content_type in EXTENSIONS else "application/octet-stream"
    name = safe_name(media.name, kind) if kind in EXTENSIONS else "file"
    return Response(
        data, headers={**_MEDIA_HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}, media_type=kind
    )


@router.get("/conversations", response_model=m.Page[m.Conversation])
async def list_conversations(
    api: Api,
    reach: Reach,
    did: Annotated[str, Query(min_length=1, max_length=64)],
    limit: Limit = 50,
    cursor: Cursor = "",
) -> Any:
    """List the contacts of a DID, latest first.

    Contacts and counts come from the DID's newest 2,000 messages."""
    reach.need(ALL)
    number = reach.named_did(did, "did").number
    rows = await api.store.read(lambda db: message_list.conversations(db, number, reach.sees))
    before = number_after(cursor)
    rest = [row for row in rows if not before or row["last_id"] < before]
    more = pack([rest[limit - 1]["last_id"]]) if len(rest) > limit else None
    return {"items": rest[:limit], "next": more}


@router.get("/route", response_model=m.Explained, tags=["operator"])
async def explain_route(
    api: Api,
    reach: Reach,
    source: Annotated[str, Query(alias="from", min_length=1, max_length=64)],
    target: Annotated[str, Query(alias="to", min_length=1, max_length=64)],
    text: Annotated[str, Query(max_length=4096)] = "",
) -> Any:
    """Return the matching rules and the route of a message without sending it. Operator only."""
    reach.need(OPERATOR)
    return await explain(api.messaging, api.directory, api.carriers(), source, target, text)


@router.post("/incoming", response_model=m.Stored, status_code=202, tags=["operator"])
async def receive_message(api: Api, reach: Reach, given: m.Incoming) -> Any:
    """Deliver an SMS to a DID as if a carrier had sent it. Operator only."""
    reach.need(OPERATOR)
    did = reach.named_did(given.to, "to")
    if (source := normalise(given.from_)) is None:
        raise wrong("from", "not a number, short code or sender name")
    if "\0" in given.text:
        raise wrong("text", "it has a NUL")
    result = await api.messaging.inbound.receive(InboundSms(source, did.number, given.text), ORIGIN)
    if result is None:
        raise wrong("to", "there is no such DID")
    if isinstance(result, Refusal):
        raise Problem(422, "refused", result.reason)
    return {"id": result.message_id}


def _numbers(reach: Permissions) -> list[str] | None:
    """Return the DIDs whose messages are read one DID at a time; None to walk all messages."""
    found = reach.dids()
    return found if found is None or len(found) <= message_list.MOST_DIDS else None


async def _seen(api: Services, reach: Permissions, message: int) -> dict[str, Any]:
    """Return a message that the caller may see. Raises Problem."""
    reach.need(ALL)
    found = await api.store.read(lambda db: message_list.message(db, message, reach.sees))
    if found is None:
        raise missing()
    return found


def _shown(row: dict[str, Any], reach: Permissions) -> dict[str, Any]:
    """Return a message as the caller may see it. Only the operator sees which carrier was used."""
    media = [
        {**{name: one[name] for name in ("content_type", "name", "size")},
         "path": f"/v1/messages/{row['id']}/media/{index}" if one["token"] else ""}
        for index, one in enumerate(row["media"])
    ]  # fmt: skip
    shown = {**row, "media": media, "encoding": encoding_of(row["text"]), "segments": segments(row["text"])}
    if reach.is_operator:
        return shown
    deliveries = [{**one, "courier": courier_shown(one["courier"], reach)} for one in row["deliveries"]]
    return {**shown, "carrier": "", "carrier_id": "", "origin": "", "deliveries": deliveries}


def courier_shown(courier: str, reach: Permissions) -> str:
    return courier if reach.is_operator else CourierId(courier).kind


def _event_of(found: dict[str, Any]) -> Message:
    did = found["from"] if found["direction"] == "out" else found["to"]
    return Message(
        Direction(found["direction"]), found["from"], found["to"], found["text"], "",
        datetime.fromisoformat(found["created_at"]).timestamp(), found["account"], did,
        id=found["id"],
    )  # fmt: skip
