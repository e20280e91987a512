"""`sipsms cancel`, `conversations` and `usage`: what /v1 can do, the command line can."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipsms.store import usage
from sipsms.store.engine import open_engine
from tests.test_cli import Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.run("account", "add", "acme", "--password", "pw")
    host.run("subaccount", "add", "acme-1", "--account", "acme", "--password", "pw")
    host.run("did", "add", "5550001111", "--account", "acme")
    return host


def test_cancel(host: Host) -> None:
    host.run("send", "--from", "5550001111", "--to", "2125550123", "not after all")
    (message,) = host.rows("messages")
    assert message["state"] == "queued"
    assert host.run("cancel", str(message["id"])).out == f"message {message['id']} is cancelled: 1 delivery\n"
    (message,) = host.rows("messages")
    assert (message["state"], message["deliveries"][0]["last_error"]) == ("failed", "cancelled")
    assert host.rows("queue") == []
    assert "nothing" in host.run("cancel", str(message["id"]), code=1).err
    assert "no message 999" in host.run("cancel", "999", code=1).err
    host.run("cancel", "x", code=2)


def test_conversations(host: Host) -> None:
    for text, other in (("to one", "2125550101"), ("to two", "2125550102")):
        host.run("send", "--from", "5550001111", "--to", other, text)
    host.run("receive", "--from", "2125550101", "--to", "5550001111", "back")
    rows = host.rows("conversations", "--did", "555-000-1111")
    assert [(row["contact"], row["last_text"], row["received"], row["sent"]) for row in rows] == [
        ("2125550101", "back", 1, 1), ("2125550102", "to two", 0, 1)
    ]  # fmt: skip
    assert len(host.rows("conversations", "--did", "5550001111", "--limit", "1")) == 1
    assert "2125550102" in host.run("conversations", "--did", "5550001111").out
    assert host.rows("conversations", "--did", "5559998888") == []
    host.run("conversations", code=2)


def test_usage(host: Host) -> None:
    assert host.run("usage", "--account", "acme").out == "nothing\n"
    engine = open_engine(f"sqlite:///{host.folder / 'sipsms.db'}")
    with engine.begin() as connection:
        usage.add(connection, "2999-01-02", {"acme": 3, "other": 1})
        usage.add(connection, "2999-01-01", {"acme": 2})
        usage.add(connection, "2001-01-01", {"acme": 9})
    engine.dispose()
    rows = host.rows("usage", "--account", "acme")
    assert rows == [{"day": "2999-01-01", "sends": 2}, {"day": "2999-01-02", "sends": 3}]
    assert "no account nobody" in host.run("usage", "--account", "nobody", code=1).err
    assert "subaccount" in host.run("usage", "--account", "acme-1", code=1).err
