"""Errors that any package may raise or catch."""

from __future__ import annotations


class Unavailable(Exception):
    """The store cannot write now (full, locked, read-only, removed). Nothing was stored; try later."""
