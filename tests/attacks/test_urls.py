"""URLs of customers and carriers that lead into the server's own network: A-33; a listener counts who comes.

The client alone, with a name server that changes its answers, is tested in tests/web/test_client_guard.py.
"""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator

import pytest

from .conftest import Account
from .fort import HANDSET, Fort
from .test_doors import Caller, ask

# Spellings of 127.0.0.1 that one parser or another takes for that address; and names that every resolver knows.
LOOPBACK = [
    "127.0.0.1", "127.1", "127.0.0.1.", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "0.0.0.0", "[::1]",
    "[::]", "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "localhost",
    "localhost.", "LOCALHOST", "sub.localhost", "ip6-localhost", "example.net@127.0.0.1", "127.0.0.1%2eexample.net",
    "\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021",
]  # fmt: skip


_NAMES = {"ip6-localhost", "sub.localhost"}  # a name is checked when it is called


class Listener:
    """A service of the server's own network that counts connections."""

    def __init__(self) -> None:
        self.came: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                self.came.append(connection.recv(4096))

    def urls(self, path: str = "x.png") -> list[str]:
        return [f"http://{host}:{self.port}/{path}" for host in LOOPBACK]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fort]:
    """One whose carrier's hook has media."""
    inbound = {"secret": "s3cret", "fields": {"id": "id"}, "media": {"items": "media"}}
    acme = {"type": "http", "url": "http://127.0.0.1:9/", "ok": {"id": "data.id"}, "inbound": inbound}
    with Fort(tmp_path_factory.mktemp("urls"), 20, carriers={"acme": acme}) as fort:
        yield fort


@pytest.fixture
def inside() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture
def caller(lab: Fort, account: Account) -> Caller:
    return Caller(lab, account)


def _ids(lab: Fort, did: str) -> list[int]:
    return [row["id"] for row in lab.rows(did)]


@pytest.mark.req("A-33")
def test_no_file_of_an_mms_is_fetched_from_inside(lab: Fort, caller: Caller, inside: Listener) -> None:
    """By the APIs that fetch the files a customer names: refused, and nothing is sent."""
    lab.cli("did", "set", caller.account.did, "--mms")
    for number, url in enumerate(inside.urls()):
        order = {"from": caller.account.did, "to": HANDSET, "text": "", "media": [{"url": url}]}
        v1 = caller.ask("/v1/messages", json.dumps(order).encode(), Content_Type="application/json")
        order = {"from": caller.account.did, "to": HANDSET, "text": "", "media_urls": [url]}
        v2 = caller.ask("/v2/messages", json.dumps(order).encode(), Content_Type="application/json")
        query = {**caller.named, "method": "sendMMS", "did": caller.account.did, "dst": HANDSET, "media1": url}
        rest = caller.ask("/api/v1/rest.php?" + urllib.parse.urlencode({**query, "message": f"m{number}"}), None)
        assert (v1[0] // 100, v2[0] // 100) == (4, 4), (url, v1, v2)
        assert b'"success"' not in rest[1], (url, rest)
    assert inside.came == []
    assert _ids(lab, caller.account.did) == []


@pytest.mark.req("A-33")
def test_no_callback_or_webhook_is_saved_or_called_inside(lab: Fort, caller: Caller, inside: Listener) -> None:
    """A spelling of an address is refused when it is saved; a name that leads inside, when it is called."""
    did = caller.account.did
    saved = []
    for url in inside.urls("hook"):
        for field in ("webhook", "callback"):
            body = json.dumps({field: url}).encode()
            status, said = _patch(lab, caller, did, body)
            assert status in (200, 422), said
            saved += [url] if status == 200 else []
    assert {urllib.parse.urlsplit(url).hostname for url in saved} <= _NAMES
    lab.sms(did, "good morning")
    lab.wait(lambda: lab.rows(did))
    assert inside.came == []


@pytest.mark.req("A-33")
def test_media_of_a_carriers_hook_are_not_fetched_from_inside(lab: Fort, account: Account, inside: Listener) -> None:
    """The message arrives with the links; the server opens none of them."""
    lab.cli("did", "set", account.did, "--mms")
    urls = inside.urls()
    for start in range(0, len(urls), 3):
        fields = {"from": HANDSET, "to": account.did, "text": f"good {start}", "media": urls[start : start + 3]}
        body = json.dumps({**fields, "id": f"{account.did}-{start}"}).encode()
        headers = {"Content-Type": "application/json"}
        assert ask(lab, "/hooks/acme/s3cret", body, headers)[0] == 200
    expected = len(range(0, len(urls), 3))

    def all_tried() -> bool:
        media = [one for row in lab.rows(account.did) for one in row["deliveries"] if one["courier"] == "media"]
        return len(media) == expected and all(one["attempts"] and one["state"] != "sending" for one in media)

    lab.wait(all_tried)
    assert inside.came == []


def _patch(lab: Fort, caller: Caller, did: str, body: bytes) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {caller.token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{lab.url}/v1/dids/{did}", body, headers, method="PATCH")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
