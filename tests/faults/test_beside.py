"""Commands that write beside the server, at the same time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from e2e.site import HANDSET, Site

from tests.support.node.ledger import Ledger, Sender

from .conftest import MakeSite

pytestmark = pytest.mark.e2e


def start(site: Site, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sipsms", "-c", str(site.path), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.req("I1", "I2")
async def test_two_receive_commands_at_once_store_each_message_once(make_site: MakeSite, tmp_path: Path) -> None:
    """Both, and what a phone sends meanwhile, are in the store and delivered, each once."""
    site = make_site()
    site.start()
    account = site.account()
    sender = Sender(site.address, account.name, account.password, Ledger(tmp_path / "ledger.jsonl"))
    running = [start(site, "receive", "--from", HANDSET, "--to", account.did, f"command {n}") for n in range(2)] + [
        start(site, "send", "--from", account.did, "--to", HANDSET, "by command")
    ]
    count = 0
    while any(process.poll() is None for process in running):
        count += 1
        assert await sender.send(HANDSET, f"phone {count}") == 202
    sender.close()
    for process in running:
        said, _ = process.communicate()
        assert process.returncode == 0, said
    expected = {"command 0", "command 1", "by command", *(f"phone {n}" for n in range(1, count + 1))}
    rows = site.rows(account.did)
    assert sorted(row["text"] for row in rows) == sorted(expected)
    out = [row for row in rows if row["direction"] == "out"]
    site.wait(lambda: all(row["state"] == "delivered" for row in site.rows() if row["direction"] == "out"), 30)
    delivered = [event["delivery"] for event in site.events("delivered")]
    assert len(delivered) == len(set(delivered)) == len(out)
    site.no_crash()


@pytest.mark.req("I1")
async def test_messages_of_commands_during_a_restart_are_delivered(make_site: MakeSite) -> None:
    """A message that a command stored while there was no server, or while one was starting, is not forgotten."""
    site = make_site()
    site.start()
    account = site.account()
    site.stop()
    running = [start(site, "send", "--from", account.did, "--to", HANDSET, f"meanwhile {n}") for n in range(3)]
    await asyncio.sleep(0.4)  # the commands are on their way
    site.start()
    for process in running:
        said, _ = process.communicate(timeout=30)
        assert process.returncode == 0, said
    for n in range(3):
        site.settled(account.did, f"meanwhile {n}", "delivered")
    delivered = [event["delivery"] for event in site.events("delivered")]
    assert len(delivered) == len(set(delivered)) == 3
