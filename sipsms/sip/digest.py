"""Digest authentication, server side (RFC 3261 section 22, RFC 7616, RFC 8760).

Pure: the time comes in. A nonce holds its own state: issue time, a counter, a flag and the network of the challenged
client, sealed with a keyed hash. Challenging a stranger therefore costs no memory. Memory is spent only on nonces that
were used with the right password (their highest nonce count), in two generations. When the older generation is dropped,
every nonce issued before it was closed becomes stale, so no request can be replayed; so is every nonce from before the
start, because its count is not known. A nonce from another network is no proof that the sender is at his address: a
right answer to it is stale, and a wrong one is challenged and not counted.

A client that answers with an algorithm or style not offered is challenged once more with a flagged nonce. A second such
answer counts as wrong, because some clients answer challenges without end.

Unknown user, disabled account and wrong password must be computed and answered alike, so that a stranger cannot tell
them apart.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from enum import Enum, auto
from typing import NamedTuple

from sipsms.core.account import Account
from sipsms.core.ha1 import HASHES, ha1
from sipsms.sip.headers import quote_string, unquote_string
from sipsms.sip.uri import ParseError

_NAME = r"[A-Za-z0-9_\-]+"
_VALUE = r'"(?:[^"\\]|\\.)*"|[^",\s]*'
_PARAM = re.compile(rf"({_NAME})[ \t]*=[ \t]*({_VALUE})", re.S)
_ONE = rf"[ \t]*{_NAME}[ \t]*=[ \t]*(?:{_VALUE})[ \t]*"
_PARAMS = re.compile(rf"{_ONE}(?:,{_ONE})*,?[ \t]*\Z", re.S)
_NC = re.compile(r"[0-9A-Fa-f]{8}\Z")
_GENERATION = 50_000  # nonces remembered in one generation
MAX_CREDENTIALS = 4096

ALGORITHMS = {"md5": "MD5", "sha-256": "SHA-256"}


class Verdict(Enum):
    OK = auto()
    NONE = auto()  # no credentials for our realm: challenge
    STALE = auto()  # right password, but the nonce is expired, used or unknown: challenge with stale=true
    WRONG = auto()  # a valid nonce, a wrong answer
    AGAIN = auto()  # an algorithm or style not offered: challenge once more with a flagged nonce
    MALFORMED = auto()


class Credentials(NamedTuple):
    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: str
    qop: str
    nc: str
    cnonce: str


class Checked(NamedTuple):
    verdict: Verdict
    account: Account | None = None
    credentials: Credentials | None = None
    why: str = ""


def parse_credentials(value: str) -> Credentials | None:
    """Parse the value of an Authorization header; None if its scheme is not Digest.

    Raises ParseError.
    """
    scheme, _, rest = value.partition(" ")
    if scheme.lower() != "digest":
        return None
    if len(value) > MAX_CREDENTIALS:
        raise ParseError("credentials too long")
    params = _plain_params(rest)
    if params is None:
        params = _any_params(rest)
    return Credentials(
        params.get("username", ""), params.get("realm", ""), params.get("nonce", ""), params.get("uri", ""),
        params.get("response", "").lower(), params.get("algorithm", "MD5").upper() or "MD5",
        params.get("qop", "").lower(), params.get("nc", ""), params.get("cnonce", ""),
    )  # fmt: skip


def _plain_params(text: str) -> dict[str, str] | None:
    """Parse the usual kind of parameters; None if a value has a comma, a backslash or a stray quote."""
    params: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        name, value = name.strip(" \t").lower(), value.strip(" \t")
        if value[:1] == '"' and value[-1:] == '"' and len(value) > 1:
            value = value[1:-1]
        if not equals or name in params or '"' in value or "\\" in value:
            return None
        params[name] = value
    return params


def _any_params(text: str) -> dict[str, str]:
    """Parse all legal parameters. Raises ParseError."""
    if not _PARAMS.match(text):
        raise ParseError("malformed digest credentials")
    found = _PARAM.findall(text)
    params = {name.lower(): unquote_string(value) for name, value in found}
    if len(params) != len(found):
        raise ParseError("a digest parameter stands there twice")
    return params


def expected_response(credentials: Credentials, secret_hash: str, method: str) -> str:
    """Return the request-digest of RFC 7616 section 3.4.1; without nc and cnonce, of RFC 2069."""
    hash_ = HASHES[credentials.algorithm]
    a2 = hash_(f"{method}:{credentials.uri}".encode("utf-8", "surrogateescape")).hexdigest()
    if credentials.qop and credentials.nc:
        middle = f"{credentials.nonce}:{credentials.nc}:{credentials.cnonce}:{credentials.qop}"
    else:
        middle = credentials.nonce
    return hash_(f"{secret_hash}:{middle}:{a2}".encode("utf-8", "surrogateescape")).hexdigest()


class Nonces:
    """Issuer of sealed nonces; remembers the highest nonce count of the nonces in use."""

    def __init__(self, secret: bytes, lifetime: float, start: float = 0.0) -> None:
        """`start`: nonces issued up to this time are stale, whoever has issued them."""
        self._secret = secret
        self._lifetime = lifetime
        self._fresh: dict[str, int] = {}
        self._older: dict[str, int] = {}
        self._fresh_since = start
        self._floor = start
        self._issued = 0  # makes each nonce unique; the seal makes it unguessable

    def issue(self, now: float, network: str = "", *, last: bool = False) -> str:
        """Return a new nonce for a client in this network.

        `last`: the client was challenged before and answered with an algorithm or style not offered.
        """
        self._issued = (self._issued + 1) & 0xFFFFFFFFFF
        body = int(now * 1000).to_bytes(6, "big") + self._issued.to_bytes(5, "big") + (b"\1" if last else b"\0")
        return (body + self._seal(body, network)).hex()

    def _seal(self, body: bytes, network: str) -> bytes:
        return hashlib.blake2b(body + network.encode(), digest_size=12, key=self._secret).digest()

    def valid(self, nonce: str, now: float, network: str = "") -> bool:
        """Return True if the nonce is ours, of this network, not expired, and younger than the forgotten ones."""
        if len(nonce) != 48:
            return False
        try:
            raw = bytes.fromhex(nonce)
        except ValueError:
            return False
        if len(raw) != 24:
            return False
        if not hmac.compare_digest(self._seal(raw[:12], network), raw[12:]):
            return False
        issued = int.from_bytes(raw[:6], "big") / 1000
        return issued > self._floor and -5 <= now - issued <= self._lifetime

    def is_last(self, nonce: str, now: float, network: str = "") -> bool:
        """Return True if the nonce is valid and flagged as the client's last challenge."""
        return self.valid(nonce, now, network) and bytes.fromhex(nonce)[11] == 1

    def use(self, nonce: str, count: int, now: float) -> bool:
        """Record a nonce count; False if it is not above the last one (RFC 7616 section 3.4, nc)."""
        last = self._fresh.get(nonce) or self._older.get(nonce, 0)
        if count <= last:
            return False
        if len(self._fresh) >= _GENERATION or now - self._fresh_since > self._lifetime:
            self._turn(now)
        self._fresh[nonce] = count
        return True

    def _turn(self, now: float) -> None:
        """Drop the older generation of nonces and start a new one."""
        if self._older and now - self._fresh_since <= self._lifetime:
            self._floor = self._fresh_since
        self._older, self._fresh = self._fresh, {}
        self._fresh_since = now


def issued_at(nonce: str) -> int:
    """Return the issue time in milliseconds from a nonce's first bytes, without checking its seal.

    Returns 0 if malformed.
    """
    try:
        return int(nonce[:12], 16) if len(nonce) == 48 and nonce.isalnum() and nonce.isascii() else 0
    except ValueError:
        return 0


class Authenticator:
    """Checker of a request's credentials against an account, and maker of the challenges."""

    def __init__(self, realm: str, algorithms: list[str], nonces: Nonces) -> None:
        self.realm = realm
        self._algorithms = [ALGORITHMS[name] for name in algorithms]
        self._nonces = nonces
        self._quoted_realm = quote_string(realm)
        self._dummy = {name: ha1("nobody", realm, "x", name) for name in HASHES}

    def challenges(self, now: float, network: str = "", *, stale: bool = False, last: bool = False) -> list[str]:
        """Return a challenge for each algorithm (RFC 8760 section 2.3), all with the same nonce."""
        nonce = self._nonces.issue(now, network, last=last)
        end = ", stale=true" if stale else ""
        return [
            f'Digest realm={self._quoted_realm}, nonce="{nonce}", opaque="0", algorithm={name}, qop="auth"{end}'
            for name in self._algorithms
        ]

    def find(self, values: list[str]) -> Credentials | None:
        """Return the credentials for our realm from several header values, or None. Raises ParseError."""
        for value in values:
            credentials = parse_credentials(value)
            if credentials is not None and credentials.realm == self.realm:
                return credentials
        return None

    def check(
        self, credentials: Credentials, account: Account | None, method: str, uri: str, now: float, network: str = ""
    ) -> Checked:
        """Check credentials from a network against the account that they name (None: no such account).

        The work done must not depend on whether the account exists, so that timing reveals no user names.
        """
        verdict, why = self._usable(credentials, now, network)
        if verdict is not Verdict.OK:
            return Checked(verdict, None, credentials, why)
        known = account is not None and account.enabled
        right = self._dummy[credentials.algorithm]
        if account is not None and known:
            right = (account.ha1_md5 if credentials.algorithm == "MD5" else account.ha1_sha256) or right
        matches = hmac.compare_digest(
            expected_response(credentials, right, method).encode(), credentials.response.encode("utf-8", "replace")
        )
        modern = bool(credentials.qop and credentials.nc and credentials.cnonce)
        if not modern and not (matches and account is not None and account.legacy_digest):
            return Checked(self._not_offered(credentials, now, network), None, credentials)
        fresh = self._nonces.valid(credentials.nonce, now, network)
        if not (matches and known):
            return Checked(Verdict.WRONG if fresh else Verdict.NONE, None, credentials)
        if not same_target(credentials.uri, uri):
            return Checked(Verdict.MALFORMED, None, credentials, "the digest is for another Request-URI")
        count = int(credentials.nc, 16) if modern else 1
        if not fresh or not self._nonces.use(credentials.nonce, count, now):
            return Checked(Verdict.STALE, account, credentials)
        return Checked(Verdict.OK, account, credentials)

    def _usable(self, credentials: Credentials, now: float, network: str) -> tuple[Verdict, str]:
        """Return the verdict that needs no hash; it must not depend on the account."""
        if not credentials.response or not credentials.nonce or len(credentials.username) > 255:
            return Verdict.MALFORMED, "incomplete digest credentials"
        if credentials.nc and not _NC.match(credentials.nc):
            return Verdict.MALFORMED, "nc must be 8 hexadecimal digits"
        if credentials.algorithm not in self._algorithms or credentials.qop not in ("", "auth"):
            return self._not_offered(credentials, now, network), ""
        return Verdict.OK, ""

    def _not_offered(self, credentials: Credentials, now: float, network: str) -> Verdict:
        return Verdict.WRONG if self._nonces.is_last(credentials.nonce, now, network) else Verdict.AGAIN


def same_target(digest_uri: str, request_uri: str) -> bool:
    """Return True if the digest's uri names the Request-URI (RFC 7616 section 3.4.6).

    User and host must agree; brackets, ports and parameters may differ: linphone omits the port, aiosip adds brackets.
    """
    return digest_uri == request_uri or _bare(digest_uri) == _bare(request_uri)


def _bare(uri: str) -> str:
    scheme, _, rest = uri.strip("<> ").partition(":")
    user, at, host = rest.rpartition("@")
    host = host.split(";", 1)[0]
    name, colon, port = host.rpartition(":")
    if colon and port.isascii() and port.isdigit() and (name[:1] != "[" or name[-1:] == "]"):
        host = name
    return f"{scheme.lower()}:{user}{at}{host.lower()}"
