"""Incoming requests of a carrier that the configuration describes. Pure.

The configuration says which fields are the message and which the receipt. A body is JSON, a form, or absent (query);
all are read by path. The carrier's authentication is checked first. Then the request is a receipt, a message or
neither; other requests are acknowledged and ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from sipsms.carriers import payload, signatures
from sipsms.carriers.payload import at_path
from sipsms.carriers.settings import Inbound, MediaIn, PartIn, Paths, ReceiptsIn, Signature
from sipsms.core.charset import Pairs
from sipsms.core.message import State
from sipsms.core.queue_rows import CarrierReceipt
from sipsms.messaging.carrier import HookError, HookReply, HookRequest, InboundMedia, InboundSms, Parsed, Part

LookUp = Callable[[str], object]  # path -> value, None if absent

MAX_PARTS: Final = 255  # 3GPP TS 23.040 section 9.2.3.24.1: one octet


def parse(inbound: Inbound, request: HookRequest) -> Parsed:
    """Authenticate and parse a request. Raises HookError."""
    payload.check_size(request)
    _check_caller(inbound, request)
    reply = HookReply(inbound.reply.status, inbound.reply.body, inbound.reply.content_type)
    if inbound.ping and not request.body and not request.query:
        return Parsed(reply=reply)
    look_up = _look_up(request)
    if inbound.receipts is not None and _is_receipt(inbound.receipts, look_up):
        return Parsed(receipts=(_receipt(inbound.receipts, look_up),), reply=reply)
    if not _all_of(inbound.when, look_up):
        return Parsed(reply=reply)
    return Parsed((_inbound_sms(inbound, look_up, request),), reply=reply)


# --- authentication --------------------------------------------------------------------------------------------------


def _check_caller(inbound: Inbound, request: HookRequest) -> None:
    if inbound.auth is not None:
        user, password = inbound.auth.basic
        signatures.check_basic(request, user, password.get_secret_value())
    if inbound.signature is not None:
        _check_signature(inbound.signature, request)


def _check_signature(signature: Signature, request: HookRequest) -> None:
    """Raise HookError if the signature is wrong, or if the message stands where the signature does not reach."""
    if not _covers(signature, request):
        raise HookError(401, "the signature does not cover the message")
    key = signature.key.get_secret_value()
    match signature.kind:
        case "plivo":
            signatures.check_plivo(request, _form(request), key)
        case "vonage":
            signatures.check_vonage(request, _signed_fields(request), key)
        case "hmac-sha256":
            signatures.check_hmac(
                request, key, signature.header, signature.encoding, signature.prefix, signature.timestamp
            )


def _covers(signature: Signature, request: HookRequest) -> bool:
    """Return whether a signature of this kind covers the part of the request that `_look_up` reads."""
    match signature.kind:
        case "plivo":  # the URL, and the fields of a form that is posted
            return not request.body or (request.method == "POST" and payload.media_type(request) == payload.FORM)
        case "vonage":  # all fields, wherever they are
            return True
        case "hmac-sha256":  # the body
            return bool(request.body) or not request.query


def _form(request: HookRequest) -> Pairs:
    return payload.form(request) if payload.media_type(request) == payload.FORM else []


def _signed_fields(request: HookRequest) -> Pairs:
    """Return all fields as Vonage signs them, from JSON, a form or the query."""
    if payload.is_json(request):
        data = payload.mapping(payload.parsed_json(request))
        return [(str(name), payload.word_of(value) if not isinstance(value, str) else value)
                for name, value in data.items()]  # fmt: skip
    return list(payload.fields(request).items())


# --- fields ----------------------------------------------------------------------------------------------------------


def _look_up(request: HookRequest) -> LookUp:
    if not request.body:
        return request.query.get
    if payload.media_type(request) == payload.FORM:
        return dict(payload.form(request)).get
    if payload.is_json(request):
        data = payload.parsed_json(request)
        return lambda path: at_path(data, path)
    raise HookError(415, "expected application/json or application/x-www-form-urlencoded")


def _all_of(conditions: Mapping[str, tuple[str, ...]], look_up: LookUp) -> bool:
    return all(payload.word_of(look_up(path)) in values for path, values in conditions.items())


def _first(paths: Paths, look_up: LookUp) -> object:
    return next((value for path in paths if (value := look_up(path)) is not None), None)


def _inbound_sms(inbound: Inbound, look_up: LookUp, request: HookRequest) -> InboundSms:
    paths = inbound.fields_
    media = tuple(_media(inbound.media, look_up)) if inbound.media else ()
    return InboundSms(
        source=_number("from", paths.from_, look_up),
        destination=inbound.to or _number("to", paths.to, look_up),
        text=_text(paths.text, look_up, lambda: bool(media) or _has_null(request, paths.text)),
        remote_id=_number("id", paths.id, look_up) if paths.id else "",
        media=media,
        part=_part(inbound.part, look_up) if inbound.part else None,
    )


def _text(paths: Paths, look_up: LookUp, may_be_empty: Callable[[], bool]) -> str:
    value = _first(paths, look_up)
    if value is None and may_be_empty():
        return ""
    return payload.text_of(value, "text", " or ".join(paths))


def _has_null(request: HookRequest, paths: Paths) -> bool:
    """Return True if the text is there as JSON's null, as some senders write an empty one."""
    if not request.body or not payload.is_json(request):
        return False
    data = payload.parsed_json(request)
    return any(at_path(data, path, absent="") is None for path in paths)


def _number(field: str, paths: Paths, look_up: LookUp) -> str:
    return payload.number_of(_first(paths, look_up), field, " or ".join(paths))


def _media(where: MediaIn, look_up: LookUp) -> tuple[InboundMedia, ...]:
    return payload.media_of(_numbered(where, look_up) if where.items is None else _items(where, look_up))


Found = tuple[object, object, object]


def _numbered(where: MediaIn, look_up: LookUp) -> Iterator[Found]:
    for n in range(payload.MAX_MEDIA + 1):
        names = [(path or "").replace("{n}", str(n)) for path in (where.url, where.type, where.name)]
        url, kind, name = (look_up(one) if one else None for one in names)
        yield url, kind, name


def _items(where: MediaIn, look_up: LookUp) -> Iterator[Found]:
    for item in payload.sequence(look_up(where.items or ""))[: payload.MAX_MEDIA]:
        url = at_path(item, where.url) if where.url else item
        yield url, _inside(item, where.type), _inside(item, where.name)


def _inside(item: Any, path: str | None) -> object:
    return at_path(item, path) if path else None


def _part(where: PartIn, look_up: LookUp) -> Part | None:
    """Return the segment's position in a long text; None for a whole text, which lacks these fields."""
    reference, number, total = (payload.word_of(look_up(path)) for path in (where.reference, where.number, where.total))
    if not reference or not total:
        return None
    if not _is_small(number) or not _is_small(total) or not 1 <= int(number) <= int(total):
        raise HookError(400, "the number of the part, or of all parts, is none")
    return Part(reference, int(number), int(total)) if int(total) > 1 else None


def _is_small(digits: str) -> bool:
    return digits.isascii() and digits.isdigit() and len(digits) <= 3 and int(digits) <= MAX_PARTS


# --- receipts --------------------------------------------------------------------------------------------------------


def _is_receipt(receipts: ReceiptsIn, look_up: LookUp) -> bool:
    if receipts.when:
        return _all_of(receipts.when, look_up)
    return _first(receipts.state, look_up) is not None


def _receipt(receipts: ReceiptsIn, look_up: LookUp) -> CarrierReceipt:
    word = payload.word_of(_first(receipts.state, look_up))
    code = payload.word_of(look_up(receipts.detail)) if receipts.detail else ""
    state = State(receipts.states.get(word, receipts.states.get(word.lower(), "accepted")))
    opted_out = state is State.FAILED and code in receipts.opt_out
    detail = f"{word} {code}".strip()
    return CarrierReceipt(_number("id", receipts.id, look_up), state, detail, opted_out)
