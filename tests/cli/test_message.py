"""`message`, `messages`, `send --at`, `cancel`, `conversations` and `usage`: what /v1 can do, the command line can."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from sipsms.store import api_usage
from sipsms.store.engine import open_engine
from sipsms.store.schema import attempts, messages
from tests.cli.test_cli import Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.run("account", "add", "acme", "--password", "pw")
    host.run("subaccount", "add", "acme-1", "--account", "acme", "--password", "pw")
    host.run("did", "add", "5550001111", "--account", "acme")
    return host


def test_cancel_stops_a_queued_message(host: Host) -> None:
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


def test_message_shows_one_message(host: Host) -> None:
    """What the list has, with its tries; and its files."""
    picture = host.folder / "cat.gif"
    picture.write_bytes(b"GIF89a\x01\x00\x01\x00\x00\x00\x00;" + bytes(40))
    host.run("send", "--from", "5550001111", "--to", "2125550123", "--media", str(picture), "look")
    (listed,) = host.rows("messages")
    (found,) = host.rows("message", str(listed["id"]))
    assert {name: found[name] for name in listed if name != "deliveries"} | {"deliveries": []} == {
        **listed, "deliveries": [],
    }  # fmt: skip
    (delivery,) = found["deliveries"]
    assert (delivery["courier"], delivery["state"], delivery["tries"]) == ("carrier:sim", "queued", [])
    shown = host.run("message", str(listed["id"])).out
    assert "carrier:sim" in shown
    assert "file 0: image/gif, 54 bytes" in shown
    folder = host.folder / "saved"
    (saved,) = host.run("message", str(listed["id"]), "--media", str(folder)).out.splitlines()
    assert Path(saved).read_bytes() == picture.read_bytes()
    assert Path(saved) == folder / f"{listed['id']}-0-cat.gif"
    host.run("message", str(listed["id"]), "--media", str(folder), code=1)
    assert "no message 999" in host.run("message", "999", code=1).err
    host.run("message", "x", code=2)


def test_message_shows_the_attempts(host: Host) -> None:
    host.run("send", "--from", "5550001111", "--to", "2125550123", "hello")
    engine = open_engine(f"sqlite:///{host.folder / 'sipsms.db'}")
    with engine.begin() as connection:
        row = {"delivery_id": 1, "number": 1, "started_at": 1e9, "ended_at": 1e9 + 1, "outcome": "deferred"}
        connection.execute(attempts.insert(), {**row, "detail": "busy now"})
    engine.dispose()
    assert host.rows("message", "1")[0]["deliveries"][0]["tries"][0]["detail"] == "busy now"
    assert "busy now" in host.run("message", "1").out


def test_messages_filters_the_list(host: Host) -> None:
    for number, text in (("2125550101", "one"), ("2125550102", "two")):
        host.run("send", "--from", "5550001111", "--to", number, text)
    host.run("receive", "--from", "2125550101", "--to", "5550001111", "back")
    host.run("cancel", "2")

    def texts(*options: str) -> list[str]:
        return [row["text"] for row in host.rows("messages", *options)]

    assert texts() == ["one", "two", "back"]
    assert texts("--contact", "+1 (212) 555-0101") == ["one", "back"]
    assert texts("--direction", "out") == ["one", "two"]
    assert texts("--state", "failed") == ["two"]
    assert texts("--contact", "2125550101", "--direction", "in", "--did", "5550001111") == ["back"]
    assert texts("--since", "2020-01-01") == texts("--until", "2999-01-01T00:00:00+01:00") == ["one", "two", "back"]
    assert texts("--since", "2999-01-01") == texts("--until", "2020-01-01T00:00:00Z") == []
    assert texts("--direction", "out", "--limit", "1") == ["two"]
    for wrong in (("--since", "yesterday"), ("--state", "lost"), ("--direction", "up")):
        host.run("messages", *wrong, code=2)


def test_messages_finds_old_messages(host: Host) -> None:
    """More than one look passes by: what is looked for is found however much has come since."""
    host.run("receive", "--from", "2125550101", "--to", "5550001111", "long ago")
    engine = open_engine(f"sqlite:///{host.folder / 'sipsms.db'}")
    with engine.begin() as connection:
        first = connection.execute(select(messages)).mappings().one()
        rows = [{**first, "id": n, "source": "2125550199", "dedupe_key": None} for n in range(2, 5002)]
        connection.execute(messages.insert(), rows)
    engine.dispose()
    assert [row["text"] for row in host.rows("messages", "--contact", "2125550101")] == ["long ago"]
    assert len(host.rows("messages", "--limit", "5001")) == 5001


def test_send_with_a_time_holds_the_message(host: Host) -> None:
    tomorrow = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    send = ("send", "--from", "5550001111", "--to", "2125550123")
    host.run(*send, "--at", tomorrow.isoformat(), "later")
    host.run(*send, "--at", tomorrow.replace(tzinfo=None).isoformat(), "later, UTC")
    assert [row["due_at"] for row in host.rows("queue")] == [tomorrow.timestamp()] * 2
    assert "a year" in host.run(*send, "--at", "2999-01-01", "much later", code=1).err
    host.run(*send, "--at", "soon", "later", code=2)


def test_conversations_lists_the_contacts(host: Host) -> None:
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


def test_usage_shows_the_messages_of_each_day(host: Host) -> None:
    assert host.run("usage", "--account", "acme").out == "nothing\n"
    engine = open_engine(f"sqlite:///{host.folder / 'sipsms.db'}")
    with engine.begin() as connection:
        api_usage.add(connection, "2999-01-02", {"acme": 3, "other": 1})
        api_usage.add(connection, "2999-01-01", {"acme": 2})
        api_usage.add(connection, "2001-01-01", {"acme": 9})
    engine.dispose()
    rows = host.rows("usage", "--account", "acme")
    assert rows == [{"day": "2999-01-01", "sends": 2}, {"day": "2999-01-02", "sends": 3}]
    assert "no account nobody" in host.run("usage", "--account", "nobody", code=1).err
    assert "subaccount" in host.run("usage", "--account", "acme-1", code=1).err
