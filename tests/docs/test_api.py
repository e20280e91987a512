"""docs/api*: their commands run, on a real server, and their JSON is what it says."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.support.node.server import Node

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "api.md", *sorted((ROOT / "docs" / "api").glob("*.md"))]
SITE = "https://sms.example.net"
pytestmark = pytest.mark.e2e


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.S | re.M)


def commands(text: str) -> list[str]:
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in (re.sub(r"\s+#\s.*", "", one).strip() for one in lines) if line]


def prepare(node: Node, lines: list[str]) -> tuple[dict[str, str], list[str]]:
    """Run what `sipsms` commands there are before the server starts; what they assign, and what is left to do."""
    environment, rest = dict(os.environ), []
    for line in lines:
        assigned = re.fullmatch(r"(\w+)=\$\(sipsms (.*)\)", line)
        if assigned:
            environment[assigned[1]] = node.cli(*shlex.split(assigned[2])).stdout.strip().splitlines()[0]
        elif line.startswith("sipsms "):
            node.cli(*shlex.split(line)[1:])
        else:
            rest.append(line)
    return environment, rest


def pages_with_curl() -> list[Path]:
    return [page for page in PAGES if any("curl" in text for text in blocks(page, "sh"))]


@pytest.mark.parametrize("page", pages_with_curl(), ids=lambda page: page.name)
def test_the_commands_of_each_page_work(page: Path, tmp_path: Path) -> None:
    lines = [line for text in blocks(page, "sh") for line in commands(text)]
    node = Node(tmp_path)
    environment, rest = prepare(node, lines)
    assert rest, "nothing is sent"
    with node:
        for line in rest:
            done = subprocess.run(
                ["bash", "-c", line.replace(SITE, node.url)], env=environment, capture_output=True, text=True,
                timeout=30, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            assert '"error"' not in done.stdout, done.stdout
        assert node.listed("messages")


def test_the_commands_of_the_first_page_work(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.import_accounts({"name": "acme", "password": "x", "dids": [{"number": "5550001111"}]})
    for text in blocks(ROOT / "docs" / "api.md", ""):
        prepare(node, commands(text))
    (row,) = node.listed("account", "list")
    assert (row["api"], row["api_daily_limit"], row["api_allow_ip"]) == (True, 1000, "192.0.2.0/24 2001:db8::/32")
    assert [one["name"] for one in node.listed("token", "list")] == ["shop"]


def test_the_answer_that_3cx_gets(tmp_path: Path) -> None:
    page = ROOT / "docs" / "api" / "3cx.md"
    node = Node(tmp_path)
    environment, rest = prepare(node, commands(blocks(page, "sh")[0]))
    with node:
        said = subprocess.run(
            ["bash", "-c", rest[0].replace(SITE, node.url)],
            env=environment,
            capture_output=True,
            timeout=30,
            check=True,
        )
    shown, answer = json.loads(blocks(page, "json")[0])["data"], json.loads(said.stdout)["data"]
    assert {**shown, "id": "1", "payload": {"id": "1"}} == {name: answer[name] for name in shown}


def test_links_and_tables_of_the_pages_are_valid() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
