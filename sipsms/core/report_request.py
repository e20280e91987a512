"""Requests for delivery reports: who is told what becomes of a message. Pure.

A request is stored in one short column, whose format only `encode` and `decode` know."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

MAX_URL: Final = 240  # characters: the column has 255
_IMDN: Final = "#imdn "  # only before an id that could be taken for another request
_WEBHOOK: Final = "#webhook"
_URL: Final = "#dlr "
_SMPP: Final = "#smpp\t"


class ImdnRequest(NamedTuple):
    """A phone wants a delivery notification (RFC 5438)."""

    message_id: str  # its imdn.Message-ID


class WebhookRequest(NamedTuple):
    """The webhook of the message's DID is told."""


class UrlRequest(NamedTuple):
    """A URL is called, as by Kannel."""

    mask: int  # dlr-mask
    url: str  # dlr-url, at most MAX_URL characters


class SmppRequest(NamedTuple):
    """An ESME wants receipts. The addresses are as it wrote them: its receipts must have the same."""

    mask: int  # registered_delivery
    source_ton: int
    source_npi: int
    dest_ton: int
    dest_npi: int
    parts: tuple[int, ...]  # of a long text, those whose receipt is wanted; none: it is one message
    token: str  # of the ids that these were told (TOKEN-1, TOKEN-2, ...); empty: the message's own id
    source: str
    destination: str
    reference: int | None = None  # the program's own (user_message_reference)

    @classmethod
    def of(
        cls, mask: int, source: str, destination: str, source_ton: int, source_npi: int, dest_ton: int, dest_npi: int,
        part: int = 0, token: str = "", reference: int | None = None,
    ) -> SmppRequest:  # fmt: skip
        """Return the request of one submit, with addresses that fit the column."""
        numbers = (part,) if part else ()
        source, destination, token = map(_short, (source, destination, token))
        return cls(mask, source_ton, source_npi, dest_ton, dest_npi, numbers, token, source, destination, reference)


ReportRequest = ImdnRequest | WebhookRequest | UrlRequest | SmppRequest


def encode(request: ReportRequest | None) -> str:
    """Return the column's text: at most 255 characters, empty for None; of an `SmppRequest` at most 127."""
    match request:
        case None:
            return ""
        case ImdnRequest(message_id):
            return f"{_IMDN}{message_id}" if message_id.startswith("#") else message_id
        case WebhookRequest():
            return _WEBHOOK
        case UrlRequest(mask, url):
            return f"{_URL}{mask} {url}"
        case SmppRequest():
            mask, *kinds, parts, token, source, destination, reference = request
            first = mask if reference is None else f"{mask}/{reference}"
            return _SMPP + "\t".join(map(str, (first, *kinds, ".".join(map(str, parts)), token, source, destination)))


def decode(text: str) -> ReportRequest | None:
    """Return the request that `encode` wrote."""
    if not text:
        return None
    if text == _WEBHOOK:
        return WebhookRequest()
    if text.startswith(_URL):
        number, _, url = text.removeprefix(_URL).partition(" ")
        return UrlRequest(int(number), url)
    if not text.startswith(_SMPP):
        return ImdnRequest(text.removeprefix(_IMDN))
    first, *kinds, parts, token, source, destination = text.removeprefix(_SMPP).split("\t")
    mask, _, reference = first.partition("/")
    source_ton, source_npi, dest_ton, dest_npi = map(int, kinds)
    numbers = tuple(map(int, filter(None, parts.split("."))))
    return SmppRequest(
        int(mask), source_ton, source_npi, dest_ton, dest_npi, numbers, token, source, destination,
        int(reference) if reference else None,
    )  # fmt: skip


def of_parts(requests: Iterable[ReportRequest | None]) -> SmppRequest | None:
    """Return the request of a long text from those of its parts; None: no report."""
    found = [one for one in requests if isinstance(one, SmppRequest)]
    if not found:
        return None
    references = {one.reference for one in found}
    numbers = sorted({number for one in found for number in one.parts})
    reference = references.pop() if len(references) == 1 else None
    return found[0]._replace(parts=tuple(numbers), reference=reference)


def _short(address: str) -> str:
    return "".join(char if " " <= char <= "~" else "?" for char in address[:24])
