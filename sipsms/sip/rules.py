"""SIP settings in force, and refusals that state the rule in words."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from sipsms.messaging.settings import MessageSettings
from sipsms.sip.endpoint import Answer
from sipsms.sip.settings import SipSettings
from sipsms.sip.transport import is_local_address
from sipsms.sip.uri import Uri

RETRY_AFTER = "5"


class SipRules:
    """Settings in force; replaced as a whole on reload."""

    def __init__(self, domain: str, aliases: Iterable[str], sip: SipSettings, messages: MessageSettings) -> None:
        self.domain = domain.lower()
        public = (self.domain, sip.advertised or self.domain, *aliases)
        self._public = frozenset(name.lower().removesuffix(".") for name in public)
        self.domains = self._public | {"localhost", socket.gethostname().lower()}
        self.sip = sip
        self.messages = messages

    def is_ours(self, uri: Uri) -> bool:
        """Return True for one of our domains or an address of this machine, which many phones use.

        A name may end with the dot of the DNS root (RFC 1034 section 3.1).
        """
        return uri.host.removesuffix(".") in self.domains or is_local_address(uri.host)

    def takes_page(self, origin: str) -> bool:
        """Return True for the Origin of a page of our own domain, or of `websocket_origins` (RFC 7118 section 7).

        A page from localhost is one of the browser's own machine, not ours.
        """
        listed = self.sip.websocket_origins
        if "*" in listed or origin.lower() in listed:
            return True
        try:
            url = urlsplit(origin)
            return url.scheme in ("http", "https") and (url.hostname or "") in self._public
        except ValueError:
            return False

    def refusal(self, status: int, why: str, *headers: tuple[str, str]) -> Answer:
        """Return a refusal with the rule in words (Warning 399)."""
        text = why.encode("ascii", "replace").decode().replace("\\", "/").replace('"', "'")
        return Answer(status, (*headers, ("Warning", f'399 {self.domain} "{text[:200]}"')))

    def elsewhere(self) -> Answer:
        """Return the refusal of a request with a Route of another server."""
        return self.refusal(403, "this server passes nothing on to other servers")

    def unavailable(self) -> Answer:
        return self.refusal(503, "the store cannot write now", ("Retry-After", RETRY_AFTER))
