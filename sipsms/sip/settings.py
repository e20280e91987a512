"""SIP settings of the configuration, and refusals that state the rule in words."""

from __future__ import annotations

from collections.abc import Iterable

from sipsms.sip.endpoint import Answer
from sipsms.sip.registrar import Policy
from sipsms.sip.transport import is_local_address
from sipsms.sip.uri import Uri

RETRY_AFTER = "5"


class SipRules:
    """Settings in force; replaced as a whole on reload."""

    def __init__(
        self, domain: str, aliases: Iterable[str], policy: Policy, max_length: int, length_unit: str,
        copy_prefix: str = "", flood_limit: int = 0, drop_scanners: bool = False,
    ) -> None:  # fmt: skip
        self.domain = domain.lower()
        self.domains = frozenset((self.domain, "localhost", *(alias.lower() for alias in aliases)))
        self.policy = policy
        self.max_length = max_length
        self.length_unit = length_unit
        self.copy_prefix = copy_prefix
        self.flood_limit = flood_limit
        self.drop_scanners = drop_scanners

    def is_ours(self, uri: Uri) -> bool:
        """Return True for one of our domains or an address of this machine, which many phones use."""
        return uri.host in self.domains or is_local_address(uri.host)

    def refusal(self, status: int, why: str, *headers: tuple[str, str]) -> Answer:
        """Return a refusal with the rule in words (Warning 399)."""
        text = why.encode("ascii", "replace").decode().replace("\\", "/").replace('"', "'")
        return Answer(status, (*headers, ("Warning", f'399 {self.domain} "{text[:200]}"')))

    def unavailable(self) -> Answer:
        return self.refusal(503, "the store cannot write now", ("Retry-After", RETRY_AFTER))
