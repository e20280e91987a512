"""Values that the store passes to the directory: blocks and changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sipsms.core.account import Account, Did, Token


class Block(NamedTuple):
    """A block of messages from (`in`) or to (`out`) a number, by an owner: a DID, a customer or *."""

    owner: str
    number: str
    direction: str
    active: bool = True


class DirectoryChanges(NamedTuple):
    """Changes of the directory; `whole`: these are all rows, and everything else must be forgotten."""

    version: int
    whole: bool
    accounts: Sequence[Account]
    dids: Sequence[Did]
    paused: frozenset[str]  # names of paused carriers
    blocks: Sequence[Block] = ()
    tokens: Sequence[Token] = ()
