"""Authentication of carriers' requests: one check for each method, which raises HookError(401).

A comparison must take the same time wherever the difference is. An empty key never matches, because a key missing in
the settings must not admit everybody. A signed time may differ by five minutes from `request.received_at`, which is our
clock.

Sources: Telnyx "Webhook signing", Twilio "Webhooks security", SignalWire "Webhook security", Plivo "Signature
validation" (V2 and V3), Vonage "Signing messages", RFC 7617 for Basic.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Final, Literal
from urllib.parse import parse_qsl, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sipsms.carriers.outcomes import basic
from sipsms.messaging.carrier import HookError, HookRequest

MAX_AGE: Final = 300.0  # seconds, in both directions

Pairs = Sequence[tuple[str, str]]


def same(expected: str, given: str) -> bool:
    """Compare two texts in constant time; an empty `expected` never matches."""
    return bool(expected) and hmac.compare_digest(expected.encode("utf-8", "replace"), given.encode("utf-8", "replace"))


def _demand(matches: bool) -> None:
    if not matches:
        raise HookError(401, "signature missing or wrong")


def _demand_fresh(timestamp: str, now: float) -> None:
    seconds = timestamp.strip()
    known = seconds.isascii() and seconds.isdigit() and len(seconds) <= 12
    if not known or abs(now - int(seconds)) > MAX_AGE:
        raise HookError(401, f"timestamp missing or more than {MAX_AGE:.0f} s off")


def check_basic(request: HookRequest, user: str, password: str) -> None:
    """Check the user and password configured at the carrier."""
    if not password or not same(basic(user, password), request.headers.get("authorization", "")):
        raise HookError(401, "user or password missing or wrong")


def check_ed25519(request: HookRequest, public_key: str) -> None:
    """Check Telnyx: `telnyx-signature-ed25519` over `timestamp|body`; the key is base64 of 32 bytes."""
    timestamp = request.headers.get("telnyx-timestamp", "")
    _demand_fresh(timestamp, request.received_at)
    signed = timestamp.encode("utf-8", "replace") + b"|" + request.body
    try:
        signature = b64decode(request.headers.get("telnyx-signature-ed25519", ""), validate=True)
        Ed25519PublicKey.from_public_bytes(b64decode(public_key)).verify(signature, signed)
    except (InvalidSignature, binascii.Error, ValueError):
        raise HookError(401, "signature missing or wrong") from None


def check_twilio(request: HookRequest, form: Pairs, key: str) -> None:
    """Check Twilio and SignalWire: base64 HMAC-SHA1 of the URL and all form fields, sorted by name."""
    given = request.headers.get("x-twilio-signature") or request.headers.get("x-signalwire-signature", "")
    fields = "".join(name + value for name, value in sorted(set(form)))
    expected = [_base64(key, url + fields, "sha1") for url in _in_all_forms(request.url)]
    matches = [same(one, given) for one in expected]
    _demand(bool(key) and any(matches))


def check_plivo(request: HookRequest, form: Pairs, key: str) -> None:
    """Check Plivo: base64 HMAC-SHA256, V3 if present, else V2.

    V3 signs URL, fields and nonce; V2 signs URL and nonce. `ma` is the signature with the main account's token, which
    messages have. V2 does not sign the body: it authenticates the caller only, and TLS protects the content.
    """
    v3 = _plivo_headers(request, "v3")
    given = v3 or _plivo_headers(request, "v2")
    nonce = _plivo_nonce(request, "v3" if v3 else "v2")
    urls = _in_all_forms(request.url)
    signed = [f"{_plivo_v3(url, request, form)}.{nonce}" if v3 else _without_query(url) + nonce for url in urls]
    matches = [same(_base64(key, text, "sha256"), one) for text in signed for one in given]
    _demand(bool(key) and bool(nonce) and any(matches))


def _plivo_headers(request: HookRequest, version: str) -> list[str]:
    """Return the signatures; there are several while a token is being changed."""
    names = (f"x-plivo-signature-{version}", f"x-plivo-signature-ma-{version}")
    return [one.strip() for name in names if name in request.headers for one in request.headers[name].split(",")]


def _plivo_nonce(request: HookRequest, version: str) -> str:
    names = (f"x-plivo-signature-{version}-nonce", f"x-plivo-signature-ma-{version}-nonce")
    return next((request.headers[name] for name in names if name in request.headers), "")


def _plivo_v3(called: str, request: HookRequest, form: Pairs) -> str:
    pairs = sorted(parse_qsl(urlsplit(called).query, keep_blank_values=True))
    query = "&".join(f"{name}={value}" for name, value in pairs)
    url = _without_query(called)
    if request.method == "GET":
        return f"{url}?{query}" if query else url
    if query:
        url += f"?{query}" + ("." if form else "")
    elif form:
        url += "?"
    return url + "".join(name + value for name, value in sorted(form))


def check_vonage(request: HookRequest, fields: Pairs, key: str) -> None:
    """Check Vonage: `sig` is HMAC-SHA256 over `&name=value` of all other fields, sorted, with `_` for & and =."""
    values = dict(fields)
    given = values.pop("sig", "")
    _demand_fresh(values.get("timestamp", ""), request.received_at)
    signed = "".join(f"&{name}={values[name].translate(_VONAGE)}" for name in sorted(values))
    expected = hmac.new(key.encode(), signed.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
    _demand(bool(key) and same(expected, given.lower()))


_VONAGE: Final = str.maketrans("&=", "__")


def check_hmac(
    request: HookRequest, key: str, header: str, encoding: Literal["hex", "base64"], prefix: str, timestamp: str | None
) -> None:
    """Check HMAC-SHA256 of the body, or of `timestamp.body` if a timestamp header is configured."""
    body = request.body
    if timestamp is not None:
        at = request.headers.get(timestamp.lower(), "")
        _demand_fresh(at, request.received_at)
        body = at.strip().encode("utf-8", "replace") + b"." + body
    digest = hmac.new(key.encode(), body, hashlib.sha256).digest()
    expected = prefix + (digest.hex() if encoding == "hex" else b64encode(digest).decode())
    given = request.headers.get(header.lower(), "")
    _demand(bool(key) and same(expected, given))


def _base64(key: str, signed: str, digest: str) -> str:
    return b64encode(hmac.new(key.encode(), signed.encode("utf-8", "replace"), digest).digest()).decode()


def _without_query(url: str) -> str:
    return url.partition("#")[0].partition("?")[0]


def _in_all_forms(url: str) -> tuple[str, ...]:
    """Return the URL with its port, without a port, and with the default port: carriers sign any of these forms.

    The port proves nothing: the key does, and it belongs to one carrier. Source: twilio-python issue 392.
    """
    parts = urlsplit(url)
    host = _PORT.sub("", parts.netloc)
    usual = {"https": ":443", "http": ":80"}.get(parts.scheme, "")
    return tuple(url.replace(f"//{parts.netloc}", f"//{one}", 1) for one in {parts.netloc, host, host + usual})


_PORT: Final = re.compile(r":[0-9]*$")
