"""The shared server of the centre."""

from __future__ import annotations

from tests.support.centre.fixtures import centre, own_centre, someone

__all__ = ["centre", "own_centre", "someone"]
