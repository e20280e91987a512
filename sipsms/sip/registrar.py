"""Registrar (RFC 3261 section 10.3, RFC 3327, RFC 5626, RFC 5627).

Pure: request and bindings in, changes out. The server does steps 1 to 5 (domain, Require, credentials, authorisation,
AOR); this module does steps 6 to 8. A request with one bad contact must change no binding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from sys import intern
from typing import Protocol
from urllib.parse import quote

from sipsms.core.flow_address import FlowAddress
from sipsms.core.registration import Binding, identity
from sipsms.sip.headers import NameAddr, parse_name_addr, quote_string
from sipsms.sip.message import Request
from sipsms.sip.uri import ParseError, Uri, equal, parse_uri

_USER_SAFE = "-_.!~*'()&=+$,;?/"
FLOW_TIMER = 120  # seconds between keep-alives that we ask for (RFC 5626)
_GR_SAFE = "-_.!~*'()[]/:&+$"  # RFC 3261 section 25.1, paramchar


class RegistrarSettings(Protocol):
    """Limits of a registration: seconds, and the most contacts of an AOR. `SipSettings` has them."""

    @property
    def min_expires(self) -> int: ...
    @property
    def max_expires(self) -> int: ...
    @property
    def default_expires(self) -> int: ...
    @property
    def max_contacts(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Arrival:
    """Flow that the REGISTER arrived on; stored in each of its bindings."""

    received: FlowAddress
    local: str
    flow: int


@dataclass(frozen=True, slots=True)
class Result:
    """Response to build and changes to apply.

    `bindings`: all bindings afterwards. `outbound`: RFC 5626 was used.
    """

    status: int
    why: str = ""
    bindings: tuple[Binding, ...] = ()
    updated: tuple[Binding, ...] = ()
    removed: tuple[Binding, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    outbound: bool = False


class _Refused(Exception):
    def __init__(self, status: int, why: str, *headers: tuple[str, str]) -> None:
        super().__init__(why)
        self.result = Result(status, why, headers=headers)


def register(
    request: Request, aor: str, bindings: Sequence[Binding], now: float, settings: RegistrarSettings, arrival: Arrival
) -> Result:
    """Apply a REGISTER to the bindings of one AOR."""
    current = [binding for binding in bindings if binding.expires_at > now]
    try:
        contacts = request.listed("contact")
        if not contacts:
            return Result(200, bindings=tuple(current))
        if not _storable(request, contacts):
            return Result(400, "Contact, To and Call-ID must be UTF-8")
        path = _path(request)
        if "*" in contacts:
            return _remove_all(request, contacts, current)
        return _apply(
            request, aor, contacts, current, now, settings, arrival, path, _is_outbound(request, contacts, path)
        )
    except ParseError as error:
        return Result(400, str(error))
    except _Refused as refused:
        return refused.result


def _path(request: Request) -> tuple[str, ...]:
    path = tuple(request.listed("path"))
    if path and "path" not in _supported(request):
        raise _Refused(420, "Path without Supported: path", ("Unsupported", "path"))
    for value in path:
        parse_name_addr(value).parsed()
    return path


def _supported(request: Request) -> list[str]:
    return [token.lower() for token in request.listed("supported")]


def _is_outbound(request: Request, contacts: list[str], path: tuple[str, ...]) -> bool:
    """Return True if the REGISTER creates a flow of its own (RFC 5626 section 6).

    Raises _Refused if there are several flows or if the first hop does not keep flows.
    """
    flows = [contact for contact in map(parse_name_addr, contacts) if _instance(contact) and _reg_id(contact)]
    if not flows or "outbound" not in _supported(request):
        return False
    if len(flows) > 1:
        raise _Refused(400, "one contact with reg-id in one REGISTER")
    if len(request.vias) > 1 and not (path and parse_name_addr(path[0]).parsed().param("ob") is not None):
        raise _Refused(439, "the first hop does not keep flows: its Path has no ob parameter")
    return True


def _remove_all(request: Request, contacts: list[str], current: list[Binding]) -> Result:
    """Remove all bindings (step 6): `*` must be the only Contact and needs Expires: 0."""
    if len(contacts) != 1 or request.get("expires") != "0":
        raise _Refused(400, "Contact: * must stand alone, with Expires: 0")
    for binding in current:
        _check_order(request, binding)
    return Result(200, removed=tuple(current))


def _check_order(request: Request, binding: Binding) -> None:
    """Require a rising CSeq within one Call-ID (step 7). Raises _Refused."""
    if binding.call_id == request.call_id and request.cseq <= binding.cseq:
        raise _Refused(400, f"CSeq {request.cseq} is not above the last one of this Call-ID, {binding.cseq}")


def _apply(
    request: Request,
    aor: str,
    contacts: list[str],
    current: list[Binding],
    now: float,
    settings: RegistrarSettings,
    arrival: Arrival,
    path: tuple[str, ...],
    outbound: bool,
) -> Result:
    updated: list[Binding] = []
    removed: list[Binding] = []
    for text in contacts:
        contact = parse_name_addr(text)
        uri = contact.parsed()
        seconds = _expires(request, contact, settings)
        old = _find(current, contact, uri, arrival) or _restarted(current, request, contact, uri, arrival)
        if old is not None:
            if old not in updated:
                _check_order(request, old)
            current.remove(old)
        if seconds == 0:
            removed.extend([old] if old is not None else [])
            continue
        if old is not None and identity(old) != (contact.uri, _instance(contact), _reg_id(contact)):
            removed.append(old)
        new = _binding(request, aor, contact, now + seconds, arrival, path)
        if old is not None:
            new.device = old.device
        current.append(new)
        updated.append(new)
    if updated and len(current) > settings.max_contacts:
        raise _Refused(403, f"more than {settings.max_contacts} contacts")
    return Result(
        200,
        bindings=tuple(current),
        updated=tuple(updated),
        removed=tuple(removed),
        outbound=outbound and bool(updated),
    )


def _expires(request: Request, contact: NameAddr, settings: RegistrarSettings) -> int:
    """Return the seconds: the contact's expires, else the Expires header, else the default.

    A malformed value counts as absent (RFC 4475 3.1.2.4). Raises _Refused with 423 below the minimum.
    """
    text = contact.params.get("expires")
    if text is None:
        text = request.get("expires") or None
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) >= 2**32:
        return settings.default_expires
    seconds = int(text)
    if 0 < seconds < settings.min_expires:
        raise _Refused(423, f"expires below {settings.min_expires}", ("Min-Expires", str(settings.min_expires)))
    return min(seconds, settings.max_expires)


def _find(current: list[Binding], contact: NameAddr, uri: Uri, arrival: Arrival) -> Binding | None:
    """Return the binding that this contact refreshes, or None.

    The binding has the same device and flow (RFC 5626 section 6), else an equal URI.
    """
    instance, reg_id = _instance(contact), _reg_id(contact)
    for binding in current:
        if instance and binding.instance == instance and binding.reg_id == reg_id:
            return binding
    for binding in current:
        equals = binding.contact == contact.uri or equal(parse_uri(binding.contact), uri)
        if equals and _may_be_one(binding, instance, reg_id, arrival):
            return binding
    return None


def _may_be_one(binding: Binding, instance: str, reg_id: int, arrival: Arrival) -> bool:
    """Return True if equal URIs are the same contact; instance ids can show that they are not.

    Two phones behind two NATs can have the same private address, and a phone may use one contact for several flows.
    """
    if binding.instance and instance:
        return binding.instance == instance and 0 in (binding.reg_id, reg_id)
    if binding.instance or instance:
        return binding.received.host == arrival.received.host
    return True


def _restarted(
    current: list[Binding], request: Request, contact: NameAddr, uri: Uri, arrival: Arrival
) -> Binding | None:
    """Return the binding that the same program made before a restart, or None.

    A socket belongs to one user agent. The same user, host, port and transport under another Call-ID, from the same
    address, is therefore the same program after a restart, even if other parameters differ (Asterisk's `line`). That
    program would refuse its old contact. From another address it is another phone, behind another NAT with the same
    private addresses.
    """
    if _instance(contact) or "path" in request.headers:  # behind a proxy all phones have the proxy's address
        return None
    for binding in current:
        if (
            binding.path
            or binding.instance
            or binding.call_id == request.call_id
            or binding.received.host != arrival.received.host
        ):
            continue
        if _socket(parse_uri(binding.contact)) == _socket(uri):
            return binding
    return None


def _socket(uri: Uri) -> tuple[str, str, str, int, str]:
    return uri.scheme, uri.username, uri.host, uri.port, (uri.param("transport") or "").lower()


def _instance(contact: NameAddr) -> str:
    return (contact.params.get("+sip.instance") or "")[:255]


def _reg_id(contact: NameAddr) -> int:
    """Return the reg-id; 0 without an instance, where reg-id has no meaning (RFC 5626 section 6)."""
    text = contact.params.get("reg-id") or ""
    return int(text) if _instance(contact) and text.isascii() and text.isdigit() and len(text) < 10 else 0


def _quality(contact: NameAddr) -> float:
    try:
        return min(1.0, max(0.0, float(contact.params.get("q") or 1.0)))
    except ValueError:
        return 1.0


def _binding(
    request: Request, aor: str, contact: NameAddr, expires_at: float, arrival: Arrival, path: tuple[str, ...]
) -> Binding:
    kept = tuple((name, value) for name, value in contact.params.items() if name not in ("expires", "q"))
    return Binding(
        aor=aor,
        contact=contact.uri,
        expires_at=expires_at,
        call_id=request.call_id,
        cseq=request.cseq,
        received=arrival.received,
        path=path,
        q=_quality(contact),
        instance=_instance(contact),
        reg_id=_reg_id(contact),
        user_agent=intern(_clean(request.get("user-agent"))[:255]),  # thousands of phones send the same text
        accept=intern(_clean(", ".join(request.headers.get("accept", [])))[:1024]),
        flow=arrival.flow,
        local=arrival.local,
        to_uri=request.to.uri if request.to else "",
        params=kept,
    )


def _clean(text: str) -> str:
    """Replace bytes that are not UTF-8; they have no meaning in free text."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _storable(request: Request, contacts: list[str]) -> bool:
    """Return True if the fields that identify a binding are UTF-8 text.

    These fields must be stored exactly.
    """
    try:
        to = request.to.uri if request.to else ""
        "".join((request.call_id, to, *contacts, *request.headers.get("path", ()))).encode()
    except UnicodeEncodeError:
        return False
    return True


def contact_value(binding: Binding, now: float, gruu_domain: str = "") -> str:
    """Return the Contact value of a binding in a 200 (step 8).

    The value has the public GRUU if `gruu_domain` is given.
    """
    params = [f"expires={max(0, round(binding.expires_at - now))}"]
    for name, value in binding.params:
        params.append(name if value is None else f"{name}={_parameter(name, value)}")
    if binding.q != 1.0:
        params.append(f"q={binding.q:g}")
    if gruu_domain and binding.instance:
        params.append(f'pub-gruu="{public_gruu(binding, gruu_domain)}"')
    return f"<{binding.contact}>;" + ";".join(params)


def public_gruu(binding: Binding, domain: str) -> str:
    """Return the permanent address of one device of an AOR (RFC 5627 section 5.4)."""
    return f"sip:{quote(binding.aor, safe=_USER_SAFE)}@{domain};gr={quote(gruu_of(binding.instance), safe=_GR_SAFE)}"


def gruu_of(instance: str) -> str:
    """Return the `gr` parameter of a +sip.instance="<urn:uuid:...>"."""
    return instance.strip("<>")


# Feature tags of RFC 3840 section 10 and of its registry (IANA, "SIP Media Feature Tags" of the base tree).
_FEATURES = frozenset(
    "actor application audio automata class control data description duplex events extensions isfocus language "
    "methods mobility priority schemes text type video".split()
)


def _parameter(name: str, value: str) -> str:
    """Return the value of a Contact parameter; that of a feature tag is always quoted (RFC 3840 section 9)."""
    if name.startswith("+") or name in _FEATURES:
        return quote_string(value)
    plain = all(char.isalnum() or char in "-.!%*_+`'~" for char in value) and value.isascii()
    return value if plain and value else quote_string(value)
