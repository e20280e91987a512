"""The carriers' pages tell the truth: their YAML is accepted, their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from sipsms.app import settings

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "carriers").glob("*.md"))
_BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.S | re.M)


def blocks() -> list[tuple[str, str]]:
    return [(page.stem, text) for page in PAGES for text in _BLOCK.findall(page.read_text("utf-8"))]


@pytest.mark.req("S-104", "S-105", "S-108", "S-109", "S-110")
@pytest.mark.parametrize(("page", "text"), blocks(), ids=lambda value: value[:12].strip())
def test_the_yaml_of_every_page_is_valid(page: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in re.findall(r"env:(\w+)", text):
        monkeypatch.setenv(name, "s3cret")
    file = tmp_path / "page.yaml"
    file.write_text(f"domain: sip.example.net\n{text}")
    assert settings.load(file).carriers


NAMES = ["flowroute", "goip", "plivo", "vonage", "bulkvs", "voipms", "bandwidth", "telnyx", "twilio"]


@pytest.mark.parametrize("name", NAMES)
def test_the_page_and_the_file_of_a_carrier_agree(name: str) -> None:
    file = yaml.safe_load((ROOT / "etc" / "carriers" / f"{name}.yaml").read_text("utf-8"))["carriers"]
    shown = {
        key: one for page, text in blocks() if page == name for key, one in yaml.safe_load(text)["carriers"].items()
    }
    assert file.items() <= shown.items()


def test_every_page_is_listed_and_has_its_limits() -> None:
    listed = (ROOT / "docs" / "carriers.md").read_text("utf-8")
    for page in PAGES:
        text = page.read_text("utf-8")
        assert f"(carriers/{page.name})" in listed
        assert "## Known limits" in text
        assert "/hooks/" in text


def test_links_of_the_pages_lead_to_existing_files() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
