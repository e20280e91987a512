"""SIP settings in force, and refusals that state the rule in words."""

from __future__ import annotations

import socket
from collections.abc import Iterable

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
        names = (self.domain, "localhost", socket.gethostname(), sip.advertised or self.domain, *aliases)
        self.domains = frozenset(name.lower().removesuffix(".") for name in names)
        self.sip = sip
        self.messages = messages

    def is_ours(self, uri: Uri) -> bool:
        """Return True for one of our domains or an address of this machine, which many phones use.

        A name may end with the dot of the DNS root (RFC 1034 section 3.1).
        """
        return uri.host.removesuffix(".") in self.domains or is_local_address(uri.host)

    def refusal(self, status: int, why: str, *headers: tuple[str, str]) -> Answer:
        """Return a refusal with the rule in words (Warning 399)."""
        text = why.encode("ascii", "replace").decode().replace("\\", "/").replace('"', "'")
        return Answer(status, (*headers, ("Warning", f'399 {self.domain} "{text[:200]}"')))

    def elsewhere(self) -> Answer:
        """Return the refusal of a request with a Route of another server."""
        return self.refusal(403, "this server passes nothing on to other servers")

    def unavailable(self) -> Answer:
        return self.refusal(503, "the store cannot write now", ("Retry-After", RETRY_AFTER))
