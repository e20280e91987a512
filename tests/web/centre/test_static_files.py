"""Files of the pages: names with a hash, compression, and htmx as it was published."""

from __future__ import annotations

import gzip
from hashlib import sha256
from pathlib import Path

import pytest

from sipsms.web.centre import static_files
from sipsms.web.centre.static_files import StaticFiles
from tests.support.centre.site import CentreSite

FOLDER = Path(static_files.__file__).parent / "static"
HTMX = "vendor/htmx-4.0.1.min.js"


def test_htmx_is_what_was_published() -> None:
    """The hash of dist/htmx.min.js of the npm package htmx.org 4.0.1."""
    published = "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130"
    assert sha256((FOLDER / HTMX).read_bytes()).hexdigest() == published
    assert published in (FOLDER / "vendor" / "README").read_text()
    assert "Zero-Clause BSD" in (FOLDER / "vendor" / "htmx-LICENSE").read_text()


def test_files_are_small() -> None:
    files = StaticFiles()
    assert files.size("centre.css") <= 12 * 1024
    assert files.size(HTMX) + files.size("centre.js") <= 25 * 1024


def test_names_are_the_same_for_the_same_files_and_unknown_ones_are_an_error() -> None:
    assert StaticFiles().url("centre.css") == StaticFiles().url("centre.css")
    with pytest.raises(KeyError):
        StaticFiles().url("nothing.css")


@pytest.mark.parametrize("name", ["centre.css", "centre.js", "icon.svg", HTMX])
def test_a_file_may_be_kept_for_ever(centre: CentreSite, name: str) -> None:
    visitor = centre.visitor()
    page = visitor.get(StaticFiles().url(name))
    assert page.status == 200
    assert page.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.text == (FOLDER / name).read_text()
    compressed = visitor.get(StaticFiles().url(name), Accept_Encoding="gzip")
    assert compressed.headers["content-encoding"] == "gzip"
    assert int(compressed.headers["content-length"]) == StaticFiles().size(name)
    assert len(gzip.compress((FOLDER / name).read_bytes(), mtime=0)) == StaticFiles().size(name)


@pytest.mark.parametrize(
    "path", ["/static/0000000000000000/centre.css", "/static/x/../../settings.py", "{}/../guard.py"]
)
def test_other_names_lead_nowhere(centre: CentreSite, path: str) -> None:
    assert centre.visitor().get(path.format(StaticFiles().url("centre.css"))).status == 404
