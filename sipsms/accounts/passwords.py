"""Passwords of people: argon2id hashes, computed in two threads, and rules for new passwords.

The parameters are the defaults of argon2-cffi (RFC 9106 section 4, low memory: 64 MiB, t=3, p=4). At most two hashes
are computed at once, so that sign-ins can use up neither the memory nor the processors of the machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from importlib.resources import files
from itertools import pairwise
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from sipsms.core.errors import Unavailable

T = TypeVar("T")
AT_ONCE: Final = 2
MOST_WAITING: Final = 40  # sign-ins that may wait for a thread
SHORTEST: Final = 10  # characters
LONGEST: Final = 1024
_COMMON: Final = frozenset((files("sipsms.accounts") / "common_passwords.txt").read_text("utf-8").split())
# The hash of an unknown user: comparing with it costs as much as with a real one.
_NOBODY: Final = "$argon2id$v=19$m=65536,t=3,p=4$xAiEMMScnEGdtCgb4eFLjQ$mAYDQrohtXwXHJeUctqtyxgeKjXQk4BQnwqjv7I85g8"


class Verdict(Enum):
    WRONG = "wrong"
    RIGHT = "right"
    OLD = "old"  # right, and hashed with other parameters than today's


class Passwords:
    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="passwords")
        self._waiting = 0

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """Return the argon2id hash of a password. Raises Unavailable."""
        return await self._run(lambda: self._hasher.hash(_octets(password)))

    async def verify(self, hashed: str, password: str) -> Verdict:
        """Compare a password with a hash; an empty hash costs the same and is never right. Raises Unavailable."""
        return await self._run(lambda: self._verify(hashed, password))

    def _verify(self, hashed: str, password: str) -> Verdict:
        try:
            self._hasher.verify(hashed or _NOBODY, _octets(password))
        except (VerificationError, InvalidHashError):
            return Verdict.WRONG
        if not hashed:
            return Verdict.WRONG
        return Verdict.OLD if self._hasher.check_needs_rehash(hashed) else Verdict.RIGHT

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= MOST_WAITING:
            raise Unavailable("too many people sign in at once")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1


def problem(password: str, *names: str) -> str:
    """Return why a new password is refused, as a sentence; empty if it is good. `names`: those of its user."""
    if len(password) < SHORTEST:
        return f"A password has at least {SHORTEST} characters."
    if len(password) > LONGEST:
        return f"A password has at most {LONGEST:,} characters."
    plain = password.casefold()
    if plain in _COMMON or plain.strip("0123456789!.?$#@*-_ ") in _COMMON or len(set(plain)) < 4 or _is_row(plain):
        return (
            "Many people use this password, so it is easy to guess. Three words that do not belong together are good."
        )
    if any(len(name) >= 3 and name.casefold() in plain and len(plain) - len(name) < 6 for name in names):
        return "A password must not be your name or address with a few characters more."
    return ""


def _is_row(text: str) -> bool:
    """Return whether the characters count up or down, as 1234567890 and zyxwvutsrq."""
    steps = {ord(after) - ord(before) for before, after in pairwise(text)}
    return steps <= {1, -9} or steps <= {-1, 9}


def _octets(password: str) -> bytes:
    return password[:LONGEST].encode("utf-8", "surrogatepass")
