"""Errors that any room may raise or catch."""

from __future__ import annotations


class Unavailable(Exception):
    """The store cannot write now (full, locked, read-only, gone). Nothing was stored; worth another try later."""
