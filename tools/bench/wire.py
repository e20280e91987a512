"""What the load generator writes and the little it must read: bytes templates, digest answers, response fields.

Pure: no socket, no clock. Built for speed, not for generality: a template is filled once per request, and a response
is searched for four things, never parsed. The answer to a challenge is RFC 2617 MD5 with qop=auth and nc=00000001,
which is what real phones send: none of them reuses a nonce (so every message is two requests).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import md5

BRANCH = b"z9hG4bKsb"  # then eight hex digits of the job and one of the leg
CNONCE = b"0a4f113b"
ECHOED = (b"Via:", b"From", b"To: ", b"Call", b"CSeq")

_CHALLENGE = re.compile(rb"(?:WWW|Proxy)-Authenticate: *Digest ([^\r]*)", re.IGNORECASE)
_PARAM = re.compile(rb'(\w+) *= *(?:"([^"]*)"|([^ ,"]+))')

REGISTER = (
    b"REGISTER sip:%(domain)b SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP %(host)b;rport;branch=%(branch)b\r\n"
    b"Max-Forwards: 70\r\n"
    b"From: <sip:%(user)b@%(domain)b>;tag=%(tag)b\r\n"
    b"To: <sip:%(user)b@%(domain)b>\r\n"
    b"Call-ID: %(call_id)b\r\n"
    b"CSeq: %(cseq)d REGISTER\r\n"
    b"Contact: <sip:%(user)b@%(host)b>\r\n"
    b"Expires: 3600\r\n"
    b"%(auth)bContent-Length: 0\r\n\r\n"
)
MESSAGE = (
    b"MESSAGE sip:%(to)b@%(domain)b SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP %(host)b;rport;branch=%(branch)b\r\n"
    b"Max-Forwards: 70\r\n"
    b"From: <sip:%(user)b@%(domain)b>;tag=%(tag)b\r\n"
    b"To: <sip:%(to)b@%(domain)b>\r\n"
    b"Call-ID: %(call_id)b\r\n"
    b"CSeq: %(cseq)d MESSAGE\r\n"
    b"%(auth)bContent-Type: text/plain\r\n"
    b"Content-Length: %(length)d\r\n\r\n%(body)b"
)


@dataclass(frozen=True, slots=True)
class Challenge:
    realm: bytes
    nonce: bytes
    opaque: bytes


def ha1(user: bytes, realm: bytes, password: bytes) -> bytes:
    return md5(b"%b:%b:%b" % (user, realm, password)).hexdigest().encode()


def digest(
    key: bytes, nonce: bytes, method: bytes, uri: bytes, cnonce: bytes = CNONCE, nc: bytes = b"00000001"
) -> bytes:
    """RFC 2617 section 3.2.2.1, qop=auth; `key` is the HA1."""
    ha2 = md5(b"%b:%b" % (method, uri)).hexdigest().encode()
    return md5(b"%b:%b:%b:%b:auth:%b" % (key, nonce, nc, cnonce, ha2)).hexdigest().encode()


def credentials(method: bytes, user: bytes, key: bytes, uri: bytes, asked: Challenge) -> bytes:
    """The whole header line that answers `asked`."""
    name = b"Authorization" if method == b"REGISTER" else b"Proxy-Authorization"
    opaque = b', opaque="%b"' % asked.opaque if asked.opaque else b""
    return (
        b'%b: Digest username="%b", realm="%b", nonce="%b", uri="%b", response="%b", algorithm=MD5, '
        b'cnonce="%b", qop=auth, nc=00000001%b\r\n'
        % (name, user, asked.realm, asked.nonce, uri, digest(key, asked.nonce, method, uri), CNONCE, opaque)
    )


def challenge(response: bytes) -> Challenge | None:
    found = _CHALLENGE.search(response)
    if found is None:
        return None
    params = {name.lower(): quoted or bare for name, quoted, bare in _PARAM.findall(found[1])}
    return Challenge(params.get(b"realm", b""), params.get(b"nonce", b""), params.get(b"opaque", b""))


def branch(job: int, leg: int) -> bytes:
    return b"%b%08x%d" % (BRANCH, job, leg)


def which(response: bytes) -> tuple[int, int] | None:
    """(job, leg) of the request that this answers; None if it is not ours."""
    at = response.find(BRANCH) + len(BRANCH)
    try:
        return int(response[at : at + 8], 16), int(response[at + 8 : at + 9])
    except ValueError:
        return None


def status(response: bytes) -> int:
    return int(response[8:11])


def text(job: int) -> bytes:
    """64 characters; the job stands at the end, so that a device can tell which message it got."""
    return b"The quick brown fox jumps over the lazy dog, time after %08x" % job


def job_of(request: bytes) -> int | None:
    """Inverse of `text`."""
    try:
        return int(request[-8:], 16)
    except ValueError:
        return None


def ok(request: bytes) -> bytes:
    """A device's 200 to a MESSAGE (RFC 3261 section 8.2.6.2)."""
    lines = [line for line in request.split(b"\r\n\r\n", 1)[0].split(b"\r\n") if line[:4] in ECHOED]
    return b"SIP/2.0 200 OK\r\n" + b"\r\n".join(lines) + b"\r\nContent-Length: 0\r\n\r\n"
