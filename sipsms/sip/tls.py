"""TLS for SIP (RFC 3261 26.3, RFC 5922): our certificate, and the check of a peer's.

A renewal must not close connections: they keep the old certificate.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from pathlib import Path
from typing import Any

from cryptography import x509


class TlsError(Exception):
    """Certificate or key that cannot be used; the text is one line for the operator."""


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        why = "the key does not belong to the certificate" if "MISMATCH" in str(error) else "not readable as PEM"
        raise TlsError(f"tls: {certificate} with {key}: {why}") from None
    except OSError as error:
        raise TlsError(f"tls: {error.strerror}: {certificate} or {key}") from None
    return context


class ServerCertificate:
    """Our certificate and key.

    `renew` loads new files; existing connections keep the old certificate.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        """Load the certificate and key. Raises TlsError."""
        self._files = (certificate, key)
        self._seen = self._stamps()
        self._current = _context(certificate, key)

    def context(self) -> ssl.SSLContext:
        return self._current

    def renew(self, *, always: bool = False) -> bool:
        """Load the files again if they have changed; True if loaded.

        Raises TlsError: the old certificate stays in use.
        """
        stamps = self._stamps()
        if stamps == self._seen and not always:
            return False
        self._seen = stamps
        self._current = _context(*self._files)
        return True

    def move(self, certificate: Path, key: Path) -> None:
        """Load other files. Raises TlsError, with nothing changed."""
        self._current = _context(certificate, key)
        self._files = (certificate, key)
        self._seen = self._stamps()

    def _stamps(self) -> list[tuple[float, int]]:
        found = []
        for file in self._files:
            try:
                state = os.stat(file)
            except OSError:
                found.append((0.0, 0))
            else:
                found.append((state.st_mtime, state.st_size))
        return found


def expires_at(certificate: Path) -> float:
    """Return the end of a file's first certificate, in seconds since the epoch. Raises TlsError."""
    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        raise TlsError(f"tls: {certificate} cannot be read") from None


def client_context(authorities: Path | None = None) -> ssl.SSLContext:
    """Return the context for connections that we open.

    The context checks the certificate chain; `is_for` checks the name by the rules of SIP.
    """
    context = ssl.create_default_context(cafile=str(authorities) if authorities else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    return context


def is_for(certificate: dict[str, Any], domain: str) -> bool:
    """Return True if the certificate is for a SIP domain (RFC 5922 section 7).

    `certificate`: as returned by `SSLSocket.getpeercert()`. If the alternative names contain SIP URIs, only the URIs
    count, else DNS names. Wildcards and the common name never count.
    """
    names = certificate.get("subjectAltName", ())
    wanted = domain.lower().rstrip(".")
    uris = [value[4:] for kind, value in names if kind == "URI" and value.lower().startswith("sip:")]
    if uris:
        return any(uri.lower() == wanted for uri in uris if "@" not in uri)
    return any(kind == "DNS" and value.lower().rstrip(".") == wanted for kind, value in names)


class TlsLayer:
    """TLS over bytes that the caller moves (`ssl.MemoryBIO`).

    TLS connections are therefore counted, timed and bounded like all others. `over`: the peer has ended TLS or broken
    the protocol; the bytes of `unsent` may still be sent.
    """

    __slots__ = ("_in", "_out", "_tls", "agreed", "over", "server_side", "why")

    def __init__(self, context: ssl.SSLContext, *, server_side: bool, server_name: str | None = None) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=server_side, server_hostname=server_name)
        self.server_side = server_side
        self.agreed = False
        self.over = False
        self.why = ""  # reason of a failure

    def start(self) -> bytes:
        """Return the first bytes of a client."""
        self.decrypt(b"")
        return self.unsent()

    def decrypt(self, data: bytes) -> bytes:
        """Return the plain text of received bytes; b"" if there is none yet."""
        if self.over:
            return b""
        self._in.write(data)
        parts: list[bytes] = []
        try:
            if not self.agreed:
                self._tls.do_handshake()
                self.agreed = True
            while part := self._tls.read(65536):
                parts.append(part)
            self.over = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self.over = True
            self.why = getattr(error, "verify_message", "") or error.reason or str(error)
        return b"".join(parts)

    def encrypt(self, data: bytes) -> bytes:
        try:
            self._tls.write(data)
        except ssl.SSLError:
            self.over = True
        return self._out.read()

    def unsent(self) -> bytes:
        return self._out.read()

    def close(self) -> bytes:
        """Return a close_notify (RFC 8446 section 6.1); the peer's close_notify is not awaited."""
        with contextlib.suppress(ssl.SSLError, ValueError):
            self._tls.unwrap()
        return self._out.read()

    def certificate(self) -> dict[str, Any]:
        """Return the peer's certificate, checked against the authorities.

        The form is that of `SSLSocket.getpeercert`.
        """
        return dict(self._tls.getpeercert() or {})
