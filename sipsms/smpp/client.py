"""Binds that we open: to carriers' SMSCs, and to customers' own servers (S-072 to S-075, S-078)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from sipsms.model import Did
from sipsms.ports import Clock
from sipsms.smpp.coding import Charset
from sipsms.smpp.courier import Gone, Peer
from sipsms.smpp.session import Limits


class PushOptions(NamedTuple):
    """From the configuration's `smpp` and `callbacks`."""

    system_id: str
    limits: Limits
    charsets: Mapping[int, Charset]
    verify: bool  # certificates of ssmpp:// servers
    refuses: Callable[[str], str]  # why no connection is made to an IP address; empty: it is


class Pushes:
    """Customers' own servers: bound to when something is to be pushed there."""

    def __init__(self, options: Callable[[], PushOptions], clock: Clock) -> None:
        self._options = options
        self._clock = clock

    async def peer(self, did: Did) -> Peer:
        raise Gone("not built yet")

    def binds(self) -> Iterator[dict[str, Any]]:
        yield from ()

    async def close(self) -> None: ...
