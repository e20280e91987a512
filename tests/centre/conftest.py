"""The server of the centre, one for all tests of a process, and a browser."""

from __future__ import annotations

from tests.support.centre.browser import chromium, contexts, page
from tests.support.centre.fixtures import centre, someone

__all__ = ["centre", "chromium", "contexts", "page", "someone"]
