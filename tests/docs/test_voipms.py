"""docs/api/voipms.md: its commands and its Python do what they say, its tables are what the code has."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sipsms.core.media_types import MAX_FILE, MAX_FILES, MAX_TEXT
from sipsms.messaging.retry_guard import REPEAT
from sipsms.store.message_list_voipms import LOOKED_AT
from sipsms.web.api.voipms import messages
from sipsms.web.api.voipms.accounts import NOTHING, Accounts
from sipsms.web.api.voipms.dids import Dids
from sipsms.web.api.voipms.params import MAX_DAYS
from tests.support.node.server import Node

PAGE = (Path(__file__).parents[2] / "docs" / "api" / "voipms.md").read_text()
SITE = "https://sms.example.net"


def block(language: str) -> str:
    (text,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.S | re.M)
    return str(text)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with Node(tmp_path_factory.mktemp("node")) as found:
        yield found


@pytest.mark.e2e
@pytest.mark.req("S-103", "S-105")
def test_the_commands_and_python_code_of_the_page_work(node: Node) -> None:
    environment = dict(os.environ)
    answers: list[dict[str, Any]] = []
    for line in block("sh").replace("\\\n", " ").splitlines():
        assigned = re.fullmatch(r"PASSWORD=\$\(sipsms (.*)\)", line)
        if assigned:
            environment["PASSWORD"] = node.cli(*shlex.split(assigned[1])).stdout.strip()
        elif line.startswith("sipsms "):
            node.cli(*shlex.split(line)[1:])
        else:
            answers.append(_run(line.replace(SITE, node.url), environment))
    assert answers[0] == json.loads(block("json"))
    assert [row["message"] for row in answers[1]["sms"]] == ["Hello"]
    assert answers[2]["mms"] == 2
    code = block("python").replace(SITE, node.url)
    names: dict[str, Any] = {"PASSWORD": environment["PASSWORD"]}
    exec(code, names)
    node.wait_for_messages(lambda rows: [row["text"] for row in rows] == ["Hello", "Look", "Hello from Python"])


def _run(command: str, environment: dict[str, str]) -> dict[str, Any]:
    """Until the server has taken over the password."""
    for _ in range(200):
        done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, timeout=30, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
        if found["status"] != "invalid_credentials":
            break
    assert found["status"] == "success", (command, found)
    return found


def test_the_methods_of_the_page_are_those_of_the_api() -> None:
    nothing: Any = None
    tables = (
        messages.Messages(nothing, nothing, nothing, nothing, nothing).methods(), Dids(nothing, nothing).methods(),
        Accounts(nothing, nothing, nothing, nothing, nothing, nothing).methods(),
    )  # fmt: skip
    table = PAGE.partition("## Methods")[2].partition("\nWhat sipsms")[0]
    first = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    assert {name for cell in first for name in re.findall(r"`(\w+)`", cell)} == {
        name for one in tables for name in one
    } - set(NOTHING)


def test_the_status_words_of_the_page_are_those_of_the_api() -> None:
    sentence = PAGE.partition("What sipsms does not have")[2].partition("so that")[0]
    names, words = re.findall(r"`(get\w+)`", sentence), re.findall(r"`(no_\w+)`", sentence)
    assert [NOTHING[name] for name in names] == words


def test_the_numbers_of_the_page_agree_with_the_code() -> None:
    for text in (
        f"({messages.MAX_SMS} characters)", f"({MAX_TEXT:,} characters)", f"`media1` to `media{MAX_FILES}`",
        f"{MAX_DAYS} at most", f"`limit` ({messages.LIMIT})", f"{MAX_FILE // 1024:,} KB a file",
        f"{messages.MAX_ROWS:,} rows", f"{LOOKED_AT:,} messages", f"within {REPEAT:.0f} seconds",
    ):  # fmt: skip
        assert text in PAGE, text
