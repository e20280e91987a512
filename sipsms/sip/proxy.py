"""Relaying (RFC 3261 section 16): the forwarded request, loop detection, the best response.

Pure. Requests are relayed only to accounts of our domains, over the flows they registered by. The proxy must never
relay for strangers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b

from sipsms.sip.digest import parse_credentials
from sipsms.sip.headers import parse_name_addr, parse_via, pretty
from sipsms.sip.message import REASONS, Request, Response
from sipsms.sip.uri import ParseError, Uri

# Only credentials prove an identity, so only header fields that claim none are forwarded: no Reply-To, Identity,
# Diversion, Call-Info, P-... Extension fields (X-...) are forwarded, but not those by which sipsms speaks to phones.
_FORWARDED = frozenset(
    "from to call-id cseq date subject expires priority in-reply-to timestamp user-agent require supported allow "
    "accept accept-encoding accept-language content-type content-encoding content-disposition content-language "
    "mime-version authorization proxy-authorization".split()
)
_OWN = "x-sms-"
_CREDENTIALS = ("authorization", "proxy-authorization")
_MAX_RETURNED = 2048  # bytes of header fields
# Only this server may answer 503 (C-115), and a phone must not challenge another phone (D11).
_SAID_OTHERWISE = {503: 500, 401: 403, 407: 403}
# Set anew for the response, reserved to this server, or able to make the sender's phone act for another phone: send a
# paid SMS to a Contact, or answer a challenge.
_NOT_RETURNED = frozenset(
    "via from to call-id cseq content-length record-route contact www-authenticate proxy-authenticate "
    "authentication-info proxy-authentication-info content-type content-encoding content-disposition".split()
)


def forwarded(request: Request, target: str, path: Iterable[str], top_via: str, realm: str) -> Request:
    """Return the request to forward (section 16.6).

    It has a new target, one hop less, and neither credentials for our realm nor claims of identity.
    """
    hops = int(request.get("max-forwards")) - 1 if request.get("max-forwards") else 70
    headers: dict[str, list[str]] = {
        "via": [top_via, *request.vias[1:]],
        "route": list(path),
        "max-forwards": [str(hops)],
    }
    for name, values in request.headers.items():
        if name not in _FORWARDED and (not name.startswith("x-") or name.startswith(_OWN)):
            continue
        kept = [value for value in values if not _is_for(value, realm)] if name in _CREDENTIALS else values
        if kept:
            headers[name] = list(kept)
    return Request(request.method, target, headers, request.body)


def _is_for(credentials: str, realm: str) -> bool:
    """Return True if credentials are for our realm or cannot be parsed."""
    try:
        found = parse_credentials(credentials)
    except ParseError:
        return True
    return found is not None and found.realm == realm


def loop_mark(request: Request, key: bytes) -> str:
    """Return the end of our branch; the same if the same request returns (section 16.6, item 8)."""
    fields = (
        request.uri, request.call_id, str(request.cseq), request.from_.tag if request.from_ else "",
        request.to.tag if request.to else "", *request.headers.get("route", ()),
    )  # fmt: skip
    text = "\n".join(fields).encode("utf-8", "surrogateescape")
    return blake2b(text, digest_size=8, key=key[:64]).hexdigest()


def has_looped(request: Request, mark: str) -> bool:
    """Return True if the request has passed this server unchanged (section 16.3, item 4)."""
    for value in request.vias:
        try:
            if parse_via(value).branch.endswith("-" + mark):
                return True
        except ParseError:
            continue
    return False


def own_routes(request: Request, is_ours: Callable[[Uri], bool]) -> tuple[str, bool]:
    """Return (user part of our Routes, True if a Route of another server follows them) (sections 16.4 and 16.12).

    A phone sends one Route for each setting that names us: its outbound proxy, its account's proxy and the Path of a
    flow. All leading Routes that name us are ours; the first user part among them counts. Raises ParseError.
    """
    token = ""
    for route in request.listed("route"):
        uri = parse_name_addr(route).parsed()
        if not is_ours(uri):
            return token, True
        token = token or uri.username
    return token, False


def best(responses: Iterable[Response]) -> Response | None:
    """Return the response to send back (section 16.7, item 6): 6xx first, else the lowest class."""
    found = [one for one in responses if one.status >= 200]
    if not found:
        return None
    sixes = [one for one in found if one.status >= 600]
    if sixes:
        return sixes[0]
    lowest = min(one.status // 100 for one in found)
    candidates = [one for one in found if one.status // 100 == lowest]
    if lowest == 4:  # prefer statuses that tell the sender what to change
        for status in (401, 407, 415, 420, 484):
            for one in candidates:
                if one.status == status:
                    return one
    return next((one for one in candidates if one.status != 503), candidates[0])


def returned(response: Response) -> tuple[int, str, list[tuple[str, str]], str]:
    """Return (status, reason, headers, To tag) of the answer upstream.

    The answer has no body: a response to MESSAGE has none (RFC 3428 section 7), and answers are kept for a while.
    """
    status = _SAID_OTHERWISE.get(response.status, response.status)
    reason = _one_line(response.reason) if status == response.status else REASONS[status]
    kept = ((name, values) for name, values in response.headers.items() if name not in _NOT_RETURNED)
    headers = [(pretty(name), value) for name, values in kept for value in values]
    if sum(len(name) + len(value) for name, value in headers) > _MAX_RETURNED:
        headers = []
    try:
        tag = parse_name_addr(response.get("to")).tag
    except ParseError:
        tag = ""
    return status, reason, headers, tag


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)[:100]
