"""aiosip 0.2.0, a second client of another hand. It is of 2017 and does not import any more without two shims; its
digest is RFC 2069's, with an echoed qop and no nc, so its account needs `--legacy-digest`. It runs in a process of its
own: this file, run as a program."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from e2e.site import DOMAIN, Account, Site

from tests.support.node.server import free_port

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        importlib.util.find_spec("aiosip") is None, reason="aiosip is missing: pip install aiosip==0.2.0"
    ),
]


ENV = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, Path(__file__).parents[1:3]))}


def play(method: str, site: Site, name: str, password: str, to: str) -> int:
    """What the server answered in the end."""
    command = [sys.executable, __file__, method, str(site.sip_port), str(free_port()), name, password, to]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=ENV)
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout)["status"])


@pytest.fixture
def own_number(site: Site) -> Account:
    """An account that is named as its DID: aiosip takes the user of To for the digest's user."""
    account = Account("5559990001", "pw", "5559990001", "")
    if not [row for row in site.listed("account", "list") if row["name"] == account.name]:
        site.cli("account", "add", account.name, "--password", account.password, "--caller-id", account.did)
        site.cli("did", "add", account.did, "--account", account.name)
    site.cli("account", "set", account.name, "--legacy-digest")
    return account


@pytest.mark.req("S-079", "S-011")
def test_register(site: Site, own_number: Account) -> None:
    status = play("REGISTER", site, own_number.name, own_number.password, own_number.name)
    assert status == 200
    assert len(site.contacts(own_number)) == 1


@pytest.mark.req("S-012")
def test_message(site: Site, own_number: Account) -> None:
    status = play("MESSAGE", site, own_number.name, own_number.password, own_number.did)
    assert status == 202
    site.wait(lambda: {"out", "in"} <= {row["direction"] for row in site.rows(own_number.did)})
    assert {row["text"] for row in site.rows(own_number.did)} == {"hello from aiosip"}


def test_without_the_switch_it_is_not_let_in(site: Site, own_number: Account) -> None:
    """RFC 2069's digest can be replayed; it is taken from nobody who was not given leave."""
    site.cli("account", "set", own_number.name, "--no-legacy-digest")
    site.wait(lambda: play("REGISTER", site, own_number.name, own_number.password, own_number.name) != 200, 3)


# --- the other process -----------------------------------------------------------------------------------------------


async def _client(method: str, server: int, port: int, name: str, password: str, to: str) -> dict[str, Any]:
    import aiosip

    app = aiosip.Application(loop=asyncio.get_running_loop())
    dialog = await app.start_dialog(
        from_uri=f"sip:{name}@{DOMAIN}", to_uri=f"sip:{to}@{DOMAIN}", contact_uri=f"sip:{name}@127.0.0.1:{port}",
        local_addr=("127.0.0.1", port), remote_addr=("127.0.0.1", server), password=password,
    )  # fmt: skip
    if method == "REGISTER":
        future = dialog.register()
    else:
        future = dialog.send_message("MESSAGE", content_type="text/plain", payload="hello from aiosip")
    try:
        answer = await asyncio.wait_for(future, 10)
    except aiosip.exceptions.RegisterFailed:
        return {"status": 401}
    except TimeoutError:
        return {"status": 0}
    return {"status": answer.status_code}


if __name__ == "__main__":
    import collections
    import collections.abc
    import types

    asyncio.coroutine = types.coroutine  # type: ignore[attr-defined]
    collections.MutableMapping = collections.abc.MutableMapping  # type: ignore[attr-defined]
    _method, _server, _port, *_rest = sys.argv[1:]
    print(json.dumps(asyncio.run(_client(_method, int(_server), int(_port), *_rest))))
