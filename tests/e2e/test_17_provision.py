"""A phone sets itself up: the operator makes a link, the phone fetches its settings, and registers with them."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest

from tests.support.node.server import Node
from tests.support.sip.wire import Phone

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    node = Node(tmp_path_factory.mktemp("provision")).listen_securely()
    desk = {"name": "desk", "password": "s3cret-desk"}
    node.import_accounts({"name": "acme", "password": "pw", "dids": [{"number": "5550001111"}], "subaccounts": [desk]})
    with node:
        yield node


def _made(node: Node, *options: str) -> dict[str, Any]:
    """`sipsms subaccount provision desk`, for phones on this machine."""
    done = node.cli("subaccount", "provision", "desk", "--url", node.url, "--server", "127.0.0.1", "--json", *options)
    return dict(json.loads(done.stdout))


def _fetch(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def _linphone(text: bytes) -> dict[str, str]:
    return {
        one.attrib["name"]: one.text or "" for one in ElementTree.fromstring(text).iter() if "overwrite" in one.attrib
    }


def _acrobits(text: bytes) -> dict[str, str]:
    return {one.tag: one.text or "" for one in ElementTree.fromstring(text)}


def _registers(node: Node, name: str, password: str, transport: str) -> bool:
    with Phone(node.address_of(transport), name, password, transport) as phone:
        return phone.register().status == 200


@pytest.mark.parametrize("new", [False, True])
def test_a_phone_registers_with_the_settings_of_a_link(node: Node, new: bool) -> None:
    made = _made(node, "--transport", "tls", *(["--new-password"] if new else ["--password", "s3cret-desk"]))
    status, text = _fetch(made["linphone"])
    assert status == 200
    linphone = _linphone(text)
    assert _registers(node, linphone["username"], linphone["passwd"], "tls")
    acrobits = _acrobits(_fetch(made["acrobits"])[1])
    assert _registers(node, acrobits["username"], acrobits["password"], acrobits["transport"].partition("+")[0])
    assert (linphone["passwd"] == "s3cret-desk") is not new
    secrets = (linphone["passwd"], made["linphone"].split("/")[-2])
    kept = node.log_path.read_bytes() + b"".join(
        path.read_bytes() for path in node.folder.glob("sipsms.db*") if path.is_file()
    )
    assert not any(secret.encode() in kept for secret in secrets)
    node.cli("subaccount", "passwd", "desk", "--password", "s3cret-desk")
    assert _fetch(made["linphone"])[0] == 404


def test_one_answer_for_all_that_is_wrong(node: Node) -> None:
    """Wrong, used up, expired, of a disabled account, of another password."""
    wrong = _fetch(f"{node.url}/provision/{'x' * 32}/linphone.xml")
    assert wrong[0] == 404
    once = _made(node, "--password", "s3cret-desk", "--fetches", "1")["linphone"]
    assert _fetch(once)[0] == 200
    assert _fetch(once) == wrong
    assert _fetch(_made(node, "--password", "s3cret-desk", "--expires", "1ms")["linphone"]) == wrong
    several = [_made(node, "--password", "s3cret-desk")["linphone"] for _ in range(2)]
    node.cli("subaccount", "set", "desk", "--disabled")
    _soon(lambda: _fetch(several[0]) == wrong)
    node.cli("subaccount", "set", "desk", "--enabled")
    _soon(lambda: _registers(node, "desk", "s3cret-desk", "udp"))
    changed = node.folder / "changed.yaml"
    desk = {"name": "desk", "password": "other"}
    changed.write_text(json.dumps({"accounts": [{"name": "acme", "password": "pw", "subaccounts": [desk]}]}))
    node.cli("import", str(changed))
    _soon(lambda: _registers(node, "desk", "other", "udp"))
    assert _fetch(several[1]) == wrong


def _soon(look: Any, seconds: float = 15.0) -> None:
    """The server notices what a command has changed, within a tenth of a second."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_app_that_fetches_is_told_where(node: Node) -> None:
    """The document's own URL and form, filled in as the app does, send a message."""
    node.cli("account", "set", "desk", "--app-messages")
    try:
        made = _made(node, "--new-password", "--fetches", "100")
        end = time.monotonic() + 5
        while "genericSmsSendUrl" not in (found := _acrobits(_fetch(made["acrobits"])[1])):
            assert time.monotonic() < end, found
        body = found["genericSmsPostData"]
        for name, value in (
            ("account[username]", found["username"]), ("account[password]", found["password"]),
            ("sms_to", "5551234567"), ("sms_body", "from+the+app"), ("content_type", "text/plain"),
        ):  # fmt: skip
            body = body.replace(f"%{name}%", value)
        url = node.url + urlsplit(found["genericSmsSendUrl"]).path
        kind = {"Content-Type": found["genericSmsContentType"]}
        with urllib.request.urlopen(urllib.request.Request(url, body.encode(), kind), timeout=10) as answer:
            assert json.load(answer)["sms_id"]
        assert node.listed("messages")[-1]["text"] == "from the app"
    finally:
        node.cli("account", "set", "desk", "--no-app-messages")
