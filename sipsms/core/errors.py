"""Errors that any package may raise or catch."""

from __future__ import annotations


class Unavailable(Exception):
    """The store cannot write now (full, locked, read-only, removed). Nothing was stored; try later."""


class AdminError(Exception):
    """A command that cannot be carried out. The text is one line for the operator."""


class BadValue(AdminError):
    """An invalid value of the setting `field`."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field = field
        self.why = why
