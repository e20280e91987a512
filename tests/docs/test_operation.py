"""Commands of docs/provisioning.md, and of "Watching SIP messages" in docs/operation.md, as the pages show them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.node.server import Node
from tests.support.sip.wire import Phone

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.S | re.M)


def _commands(page: str, word: str) -> list[list[str]]:
    text = "\n".join(block for kind, block in _BLOCK.findall((ROOT / "docs" / page).read_text()) if not kind)
    return [shlex.split(line)[1:] for line in text.splitlines() if line.startswith(word)]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    node = Node(tmp_path_factory.mktemp("docs"))
    desk = {"name": "desk", "password": "s3cret-desk"}
    node.import_accounts({"name": "acme", "password": "pw", "subaccounts": [desk]})
    with node:
        yield node


def _run(node: Node, words: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sipsms", "-c", str(node.path), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=node.folder)


def test_the_commands_about_provisioning_work(node: Node) -> None:
    commands = _commands("provisioning.md", "sipsms ")
    assert len(commands) >= 5
    for words in commands:
        out, err = (process := _run(node, words)).communicate(timeout=30)
        assert process.returncode == 0, err
        assert "/linphone.xml" in out
    assert (node.folder / "desk.png").exists()
    assert (node.folder / "desk.svg").exists()


def test_the_commands_about_tracing_work(node: Node) -> None:
    commands = _commands("operation.md", "sipsms trace")
    assert len(commands) >= 4
    node.cli("subaccount", "passwd", "desk", "--password", "s3cret-desk")
    for words in commands:
        with _run(node, words) as process:
            assert process.stderr is not None
            assert process.stdout is not None
            assert "watching" in process.stderr.readline()
            with Phone(node.address, "desk", "s3cret-desk") as phone:
                assert phone.register().status == 200
            assert "REGISTER" in process.stdout.readline()
            if "--count" in words:
                assert process.wait(10) == 0
            process.kill()


@pytest.mark.skipif(shutil.which("fail2ban-regex") is None, reason="fail2ban is not installed")
def test_the_commands_about_fail2ban_work(node: Node) -> None:
    with Phone(node.address, "desk", "wrong") as phone:
        assert phone.authenticated(phone.register_draft()).status == 403
    ((file, pattern),) = _commands("operation.md", "fail2ban-regex")
    log = node.log_path.rename(node.folder / file)
    done = subprocess.run(
        ["fail2ban-regex", "--out", "ip", str(log), str(ROOT / pattern)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["127.0.0.1"]
