"""Linphone sets itself up by the link of `sipsms account provision`, registers, and sends and receives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.site import Account, Site

pytestmark = pytest.mark.skipif(shutil.which("linphonec") is None, reason="linphonec is not installed")


@pytest.fixture
def linphone(site: Site, account: Account, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """linphonec with a configuration that says nothing but where the configuration is."""
    server = f"127.0.0.1:{site.sip_port}"
    made = site.cli("account", "provision", account.name, "--password", account.password, "--url", site.url,
                    "--server", server, "--transport", "tcp", "--json")  # fmt: skip
    link = json.loads(made.stdout)["linphone"]
    for folder in (".local/share/linphone", ".config/linphone"):  # without them it crashes
        (tmp_path / folder).mkdir(parents=True)
    settings = tmp_path / "linphonerc"
    settings.write_text(f"[sip]\nsip_port=0\nsip_tcp_port=-2\n\n[misc]\nconfig-uri={link}\n")
    with (tmp_path / "output").open("w") as output, subprocess.Popen(
        ["linphonec", "-c", str(settings)], text=True, stdin=subprocess.PIPE, stdout=output, stderr=output,
        env={**os.environ, "HOME": str(tmp_path)},
    ) as process:  # fmt: skip
        yield process
        process.kill()


@pytest.mark.req("S-038", "S-012")
def test_linphone_sets_itself_up(site: Site, account: Account, linphone: subprocess.Popen[str]) -> None:
    site.wait(lambda: [row for row in site.listed("registrations") if row["account"] == account.name], 20)
    site.cli("receive", "--from", "2125550123", "--to", account.did, "Hello, Linphone")
    site.settled(account.did, "Hello, Linphone", "delivered")
    assert linphone.stdin is not None
    linphone.stdin.write("chat sip:2125550123@sip.example.net set up by a link\n")
    linphone.stdin.flush()
    site.wait(lambda: "set up by a link" in [row["text"] for row in site.listed("messages", "--did", account.did)], 10)
