"""Values that the store gives to the directory: blocks, and what has changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sipsms.core.account import Account, Did, Token


class Block(NamedTuple):
    """`owner` (a DID, a customer or *) takes nothing from a number (`in`), or sends nothing to it (`out`)."""

    owner: str
    number: str
    direction: str
    active: bool = True


class DirectoryChanges(NamedTuple):
    """What changed in the directory; `whole`: this is all there is."""

    version: int
    whole: bool
    accounts: Sequence[Account]
    dids: Sequence[Did]
    paused: frozenset[str]  # carriers
    blocks: Sequence[Block] = ()
    tokens: Sequence[Token] = ()
