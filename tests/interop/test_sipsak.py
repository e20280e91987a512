"""sipsak, the field's pocket knife: is the server alive?"""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from e2e.site import Account, Site

pytestmark = pytest.mark.e2e


def sipsak(path: str, site: Site, uri: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [path, "-s", uri, "-p", f"127.0.0.1:{site.sip_port}", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.req("C-107")
def test_options(program: Callable[[str], str], site: Site, account: Account) -> None:
    """200 with what the server can do; and the same whether the user exists or not."""
    path = program("sipsak")
    answers = []
    for user in ("", f"{account.name}@", "nobody@"):
        done = sipsak(path, site, f"sip:{user}127.0.0.1:{site.sip_port}", "-vvv")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "SIP/2.0 200" in done.stdout
        answers.append([line for line in done.stdout.splitlines() if line.startswith(("Allow", "Accept", "Supported"))])
    assert answers[0] == answers[1] == answers[2]
    assert any("MESSAGE" in line and "REGISTER" in line for line in answers[0])


@pytest.mark.req("S-011")
def test_registers_with_a_password(program: Callable[[str], str], site: Site, account: Account) -> None:
    """usrloc mode: REGISTER with digest; a wrong password ends with an error."""
    path = program("sipsak")
    uri = f"sip:{account.name}@127.0.0.1:{site.sip_port}"
    contact = f"sip:{account.name}@127.0.0.1:5999"
    common = ("-U", "-i", "-C", contact, "-x", "120", "-u", account.name)  # by itself it says "c001@" is its name
    right = sipsak(path, site, uri, *common, "-a", account.password, "-vv")
    assert right.returncode == 0, right.stdout + right.stderr
    assert site.contacts(account) == [contact]
    wrong = sipsak(path, site, uri, *common, "-a", "not-it")
    assert wrong.returncode != 0
