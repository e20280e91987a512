"""Digest and registration, client side (RFC 7616, RFC 8760, RFC 2069, RFC 3261 section 10).

Pure. Invariant of `Exchange`: no nonce is answered twice after a refusal. If the server challenges a request that was
signed with a nonce of the same exchange, the password is wrong, unless the challenge says `stale`. Further answers
would only get us locked out. Chance and time come in as arguments.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sipsms.core.ha1 import HASHES
from sipsms.sip.headers import parse_name_addr, quote_string, split_list, unquote_string
from sipsms.sip.message import Response
from sipsms.sip.uri import ParseError

_ANSWERED_BY = {401: ("www-authenticate", "authorization"), 407: ("proxy-authenticate", "proxy-authorization")}
MAX_ANSWERS = 3  # challenges answered for one request
MAX_CHALLENGE = 4096
_LEADING_NUMBER = re.compile(r"[ \t]*([0-9]{1,9})")

BACK_OFF_MIN, BACK_OFF_MAX = 5.0, 300.0  # seconds between registrations that fail
REFUSED_MIN = 60.0  # seconds after a refused password: more frequent requests get an address locked out
HELD = 10.0  # seconds that a registration must last to count as stable
MAX_EXPIRES = 86400
LONGEST_WAIT = 3600.0  # seconds; upper bound for Retry-After


# --- digest -----------------------------------------------------------------------------------------------------------


class Challenge(NamedTuple):
    """Digest challenge.

    `algorithm` and `opaque` as received, None if absent; `qop`: "auth" is offered.
    """

    realm: str
    nonce: str
    opaque: str | None = None
    algorithm: str | None = None
    qop: bool = False
    stale: bool = False


def parse_challenge(value: str) -> Challenge | None:
    """Parse a WWW-Authenticate or Proxy-Authenticate value.

    Returns None if we cannot answer this kind of challenge.
    """
    scheme, _, rest = value.partition(" ")
    if scheme.lower() != "digest" or len(value) > MAX_CHALLENGE:
        return None
    try:
        pairs = [part.partition("=") for part in split_list(rest)]
    except ParseError:
        return None
    params = {name.strip(" \t").lower(): unquote_string(text.strip(" \t")) for name, _, text in pairs}
    offered = [one.strip(" \t").lower() for one in params.get("qop", "").split(",") if one.strip(" \t")]
    algorithm = params.get("algorithm")
    if "realm" not in params or not params.get("nonce") or (offered and "auth" not in offered):
        return None
    if _family(algorithm) not in HASHES:
        return None
    stale = params.get("stale", "").lower() == "true"
    return Challenge(params["realm"], params["nonce"], params.get("opaque"), algorithm, bool(offered), stale)


def _family(algorithm: str | None) -> str:
    return (algorithm or "MD5").upper().removesuffix("-SESS")


def choose(values: list[str]) -> Challenge | None:
    """Return the first challenge that we can answer, or None.

    The server lists the challenges in its order of preference (RFC 8760 section 2.4).
    """
    return next((found for value in values if (found := parse_challenge(value)) is not None), None)


def answer(
    challenge: Challenge, username: str, password: str, method: str, uri: str, count: int, cnonce: str
) -> str:  # fmt: skip
    """Return the value of an Authorization header (RFC 7616 section 3.4; without qop, RFC 2069)."""
    hash_ = HASHES[_family(challenge.algorithm)]

    def hashed(text: str) -> str:
        return hash_(text.encode("utf-8", "surrogateescape")).hexdigest()

    secret = hashed(f"{username}:{challenge.realm}:{password}")
    is_session = (challenge.algorithm or "").upper().endswith("-SESS")
    if is_session:
        secret = hashed(f"{secret}:{challenge.nonce}:{cnonce}")
    nc = f"{count:08x}"
    middle = f"{challenge.nonce}:{nc}:{cnonce}:auth" if challenge.qop else challenge.nonce
    response = hashed(f"{secret}:{middle}:{hashed(f'{method}:{uri}')}")
    parts = [f"username={quote_string(username)}", f"realm={quote_string(challenge.realm)}"]
    parts += [f"nonce={quote_string(challenge.nonce)}", f"uri={quote_string(uri)}", f'response="{response}"']
    if challenge.algorithm is not None:
        parts.append(f"algorithm={challenge.algorithm}")
    if challenge.opaque is not None:
        parts.append(f"opaque={quote_string(challenge.opaque)}")
    if challenge.qop:
        parts += ["qop=auth", f"nc={nc}"]
    if challenge.qop or is_session:
        parts.append(f'cnonce="{cnonce}"')
    return "Digest " + ", ".join(parts)


class _Kept(NamedTuple):
    header: str  # name of the header field for the answer
    challenge: Challenge


class Digest:
    """Credentials for one server, with the last accepted challenge of each method.

    With a kept challenge most requests are signed at once and need not be challenged.
    """

    def __init__(self, username: str, password: str) -> None:
        self._username = username
        self._password = password
        self._kept: dict[str, _Kept] = {}
        self._counts: dict[str, int] = {}  # nonce -> number of answers

    def keep(self, method: str, header: str, challenge: Challenge) -> None:
        self._kept[method] = _Kept(header, challenge)
        known = {one.challenge.nonce for one in self._kept.values()}
        self._counts = {nonce: count for nonce, count in self._counts.items() if nonce in known}

    def forget(self, method: str) -> None:
        self._kept.pop(method, None)

    def known(self, method: str) -> str:
        """Return the nonce that the next request would answer; empty if there is none."""
        kept = self._kept.get(method)
        return kept.challenge.nonce if kept is not None else ""

    def sign(self, method: str, uri: str, cnonce: str) -> tuple[str, str] | None:
        """Return (header name, value) for a request; None before the first challenge."""
        kept = self._kept.get(method)
        if kept is None:
            return None
        nonce = kept.challenge.nonce
        count = self._counts[nonce] = self._counts.get(nonce, 0) + 1
        value = answer(kept.challenge, self._username, self._password, method, uri, count, cnonce)
        return kept.header, value

    def next_nonce(self, method: str, response: Response) -> None:
        """Switch to the nonce of Authentication-Info (RFC 7616 section 3.5), if the response has one."""
        kept, value = self._kept.get(method), response.get("authentication-info")
        if kept is None or not value:
            return
        nonce = (parse_challenge(f'Digest realm="", {value.replace("nextnonce", "nonce")}') or kept.challenge).nonce
        self.keep(method, kept.header, kept.challenge._replace(nonce=nonce))


class Exchange:
    """Request that is sent again for each challenge to be answered."""

    def __init__(self, digest: Digest, method: str, uri: str) -> None:
        self._digest = digest
        self._method = method
        self._uri = uri
        self._answered: set[str] = set()
        self._fresh = ""  # last nonce received in this exchange

    def credentials(self, cnonce: str) -> tuple[str, str] | None:
        """Return (header name, value) for the next copy of the request; None before the first challenge."""
        signed = self._digest.sign(self._method, self._uri, cnonce)
        if signed is not None:
            self._answered.add(self._digest.known(self._method))
        return signed

    def goes_on(self, response: Response) -> bool:
        """Return True if the response is a challenge that is worth an answer."""
        if response.status not in _ANSWERED_BY:
            self._digest.next_nonce(self._method, response)
            return False
        asked, header = _ANSWERED_BY[response.status]
        challenge = choose(response.headers.get(asked, []))
        refused = self._fresh in self._answered and challenge is not None and not challenge.stale
        if challenge is None or refused or challenge.nonce in self._answered or len(self._answered) >= MAX_ANSWERS:
            self._digest.forget(self._method)
            return False
        self._fresh = challenge.nonce
        self._digest.keep(self._method, header, challenge)
        return True


# --- registering ------------------------------------------------------------------------------------------------------


def number_in(response: Response, header: str) -> int:
    """Return the leading number of Retry-After, Min-Expires or Expires; 0 if there is none."""
    match = _LEADING_NUMBER.match(response.get(header))
    return int(match[1]) if match else 0


def reason_of(response: Response) -> str:
    """Return the status with Warning's text, or with the reason phrase (RFC 3261 section 20.43)."""
    quoted = response.get("warning").partition('"')[2].rpartition('"')[0]
    return f"{response.status} {quoted or response.reason}"[:160]


def granted(response: Response, contact_user: str, asked: int) -> int:
    """Return the seconds granted: from our Contact, else from Expires, else the seconds asked for."""
    try:
        contacts = [parse_name_addr(value) for value in response.listed("contact")]
    except ParseError:
        contacts = []
    for contact in contacts:
        expires = contact.params.get("expires") or ""
        if f":{contact_user}@" in contact.uri and expires.isascii() and expires.isdigit() and len(expires) < 10:
            return int(expires)
    return number_in(response, "expires") or asked


def refresh_after(seconds: float, chance: float) -> float:
    """Return 0.5 to 0.9 of a registration's time, so that many clients do not refresh at once."""
    return max(1.0, seconds * (0.5 + 0.4 * chance))


def back_off(failures: int, chance: float) -> float:
    """Return 5 s, doubled with each failure up to 5 min, of which a quarter is random."""
    seconds = BACK_OFF_MIN * (1 << min(max(failures - 1, 0), 10))
    return max(BACK_OFF_MIN, min(seconds, BACK_OFF_MAX) * (0.75 + 0.25 * chance))


class Registration:
    """State of a registration: when to send the next REGISTER, and with which expiry."""

    def __init__(self, wanted: int) -> None:
        self.expires = wanted
        self.until = 0.0  # end of the registration; 0 if not registered
        self.why = "not tried yet"
        self._since = 0.0
        self._failures = 0
        self._brief = False  # the last answer was 423

    def is_good(self, now: float) -> bool:
        return now < self.until

    def answered(self, response: Response, contact_user: str, now: float, chance: float) -> float:
        """Return the seconds until the next REGISTER after a response."""
        if response.status == 423:
            return self._too_brief(response, now, chance)
        self._brief = False
        if response.status >= 300:
            self._refused(response, now)
            wait = back_off(self._failures, chance)
            if response.status in (401, 403, 407):
                wait = max(wait, REFUSED_MIN)
            return max(wait, min(float(number_in(response, "retry-after")), LONGEST_WAIT))
        seconds = granted(response, contact_user, self.expires)
        if not seconds:
            return self.failed("the registrar took no contact of ours", now, chance)
        if now >= self.until:
            self._since = now
        self.until, self.why = now + seconds, ""
        return refresh_after(seconds, chance)

    def _too_brief(self, response: Response, now: float, chance: float) -> float:
        """Return the seconds until the next REGISTER after a 423 (RFC 3261 section 10.2.8)."""
        least = number_in(response, "min-expires")
        if self._brief or not self.expires < least <= MAX_EXPIRES:
            return self.failed("423 without a sensible Min-Expires", now, chance)
        self.expires, self._brief = least, True
        return 0.0

    def _refused(self, response: Response, now: float) -> None:
        self._count(now)
        self.why = reason_of(response)

    def failed(self, why: str, now: float, chance: float) -> float:
        """Record a REGISTER without a usable response; return the seconds until the next REGISTER."""
        self._count(now)
        self.why = why
        return back_off(self._failures, chance)

    def _count(self, now: float) -> None:
        if self.is_good(now) and now - self._since >= HELD:
            self._failures = 0
        self._failures += 1
        self.until = 0.0

    def lost(self, why: str, now: float, chance: float) -> float:
        """Return the seconds until the next REGISTER after the registration's connection was closed.

        A new REGISTER follows within a second, unless the registration did not last `HELD` seconds.
        """
        if now - self._since < HELD:
            return self.failed(why, now, chance)
        self.until, self.why = 0.0, why
        return chance
