"""The documentation tells the truth: its YAML loads, its commands run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from sipsms.accounts import import_file
from sipsms.app import settings
from tests.support.node.server import Node

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.S | re.M)


def _blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in _BLOCK.findall(page.read_text()) if kind == language]


def _yaml() -> list[tuple[str, str]]:
    return [(page.name, text) for page in PAGES for text in _blocks(page, "yaml")]


@pytest.mark.parametrize(("page", "text"), _yaml(), ids=lambda value: value[:20].strip())
def test_the_yaml_of_the_pages_is_valid(page: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    for name in re.findall(r"env:(\w+)", text):
        monkeypatch.setenv(name, "s3cret")
    text = re.sub(r"file:[\w/]+", f"file:{secret}", text)  # certificates are read at start only
    file = tmp_path / "page.yaml"
    if "accounts" in yaml.safe_load(text):
        file.write_text(text)
        people, numbers, _groups = import_file.read(file, "realm")
        assert people
        assert numbers
        return
    file.write_text(text if "domain:" in text else f"domain: sip.example.net\n{text}")
    plain = tmp_path / "plain.yaml"
    plain.write_text("domain: sip.example.net\n")
    assert settings.load(file) != settings.load(plain)


@pytest.mark.e2e
def test_the_commands_for_the_first_phone_work(tmp_path: Path) -> None:
    """The commands of "The first phone", as the page shows them."""
    (commands,) = [text for text in _blocks(ROOT / "README.md", "") if "account add" in text]
    lines = [line.partition("  #")[0].strip() for line in commands.splitlines()]
    with Node(tmp_path) as node:
        for line in lines:
            words = shlex.split(line.replace('"$(openssl rand -hex 8)"', "generated"))
            if words and words[1:] != ["serve", "&"]:
                assert words[0] == "sipsms"
                node.cli(*words[1:])
        (message,) = node.listed("messages")
        assert (message["to"], message["text"], message["state"]) == ("5550001111", "Hello, desk", "queued")


@pytest.mark.e2e
def test_the_commands_of_the_sip_page_work(tmp_path: Path) -> None:
    (commands,) = [text for text in _blocks(ROOT / "docs" / "sip.md", "") if "sipsms" in text]
    with Node(tmp_path) as node:
        node.import_accounts({"name": "acme", "password": "x", "dids": [{"number": "5550001111"}]})
        for line in commands.splitlines():
            assert node.cli(*shlex.split(line)[1:]).returncode == 0
        (row,) = node.listed("account", "list")
        assert (row["copies"], row["presence"], row["legacy_digest"]) == (True, True, False)


def test_links_between_pages_lead_to_existing_pages() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_command_of_the_pages_exists() -> None:
    """`sipsms WORD` in running text names a command."""
    from click import Context

    from sipsms.cli import cli

    for page in PAGES:
        for word in re.findall(r"`sipsms (?:-c \S+ )?([a-z][a-z-]*)", page.read_text()):
            assert word in cli.list_commands(Context(cli)), f"{page.name}: sipsms {word}"
