"""Watch over the TLS certificate: take over a renewed one, and warn before it expires."""

from __future__ import annotations

import time
from pathlib import Path

from sipsms.core import log
from sipsms.core.clock import Clock
from sipsms.sip.tls import ServerCertificate, TlsError, expires_at

EVERY = 60.0  # seconds between looks
_WARN = 14 * 86400.0  # seconds before it expires


class CertificateWatch:
    def __init__(self, certificate: ServerCertificate, file: Path, clock: Clock) -> None:
        self._certificate = certificate
        self._file = file
        self._clock = clock
        self._warn_at = 0.0

    def move(self, certificate: Path, key: Path) -> None:
        """Use other files. Raises TlsError with nothing changed."""
        self._certificate.move(certificate, key)
        self._file, self._warn_at = certificate, 0.0

    async def look(self) -> None:
        """Take over files that have changed; connections that are there keep the old certificate."""
        try:
            if self._certificate.renew():
                log.note("certificate_renewed")
            ends_in = expires_at(self._file) - time.time()
        except TlsError as error:
            log.warning("certificate_refused", why=str(error), kept="the old one")
            return
        if ends_in < _WARN and self._clock() >= self._warn_at:
            self._warn_at = self._clock() + 86400.0
            log.warning("certificate_ends", days=round(ends_in / 86400, 1))
