"""The OpenAPI document is true: schemathesis makes requests from it and checks the answers (A-36, W-06)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http.v1 import ApiNode

pytestmark = [pytest.mark.e2e, pytest.mark.req("A-36")]

# What is right by the schema may still be wrong by the numbers and names that there are (422).
SETTINGS = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "409", "422", "429"]
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiNode]:
    with ApiNode(tmp_path_factory.mktemp("schema")) as node:
        yield node


# One's own token, and a customer's networks: without them, nothing more would be tried.
TOKEN, NETWORKS = "DELETE /tokens/{name}", "PATCH /accounts/{name}"


@pytest.mark.parametrize(("who", "seconds", "without"), [("anna", 12, (TOKEN, NETWORKS)), ("op", 18, (TOKEN,))])
def test_schemathesis_finds_no_contradiction_to_the_document(
    node: ApiNode, tmp_path: Path, who: str, seconds: int, without: tuple[str, ...]
) -> None:
    """Without `ignored_auth`: its wrong tokens would close the door for a minute, which test_permissions sees to."""
    names = [word for name in without for word in ("--exclude-name", name)]
    schemathesis(node, tmp_path, node.tokens[who], seconds, *names)
    assert node.get("/me", who).status == 200, "the token was lost on the way: nothing behind it was tried"


def test_schemathesis_can_remove_tokens(node: ApiNode, tmp_path: Path) -> None:
    """Its own as well, if it guesses that name."""
    schemathesis(node, tmp_path, node.tokens["op"], 3, "--include-name", TOKEN)


def schemathesis(node: ApiNode, tmp_path: Path, token: str, seconds: int, *more: str) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text(SETTINGS)
    report = tmp_path / "report.json"
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", f"{node.url}/v1/openapi.json",
        "-H", f"Authorization: Bearer {token}", "--exclude-path", "/events", "--max-time", str(seconds),
        "--continue-on-failure", "--request-timeout", "10", "--exclude-checks", "ignored_auth", "--no-color",
        *more, "--suppress-health-check", "all", "--seed", "1", "--report", "json", "--report-json-path", str(report),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert report.exists(), done.stdout[-2000:]
    assert not [one for one in node.events() if one["event"] in ("api_failed", "task_failed")]


def test_the_document_describes_every_route(node: ApiNode) -> None:
    document = json.loads(node.call("GET", "/openapi.json", who=None).body)
    assert document["openapi"].startswith("3.1")
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation.get("description"), f"{method} {path} says nothing"
            assert "4XX" in operation["responses"], f"{method} {path}"
            assert "422" not in operation["responses"], f"{method} {path}: not our shape of errors"


def test_the_page_lists_each_path_once(node: ApiNode) -> None:
    """Swagger UI shows an operation below each of its tags."""
    paths = node.call("GET", "/openapi.json", who=None).json["paths"]
    tags = [one["tags"] for methods in paths.values() for one in methods.values()]
    assert {len(found) for found in tags} == {1}
