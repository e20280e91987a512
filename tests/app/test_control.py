"""The control socket's server: who may ask, and what is answered to good and bad requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sipsms.app import control
from sipsms.app.control import Control
from sipsms.core.control_socket import AT_ONCE, request
from sipsms.core.errors import AdminError, BadValue, Unavailable


class Scripted:
    """Operations that do what the test says."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.result: Any = None

    def __getattr__(self, name: str) -> Any:
        async def operation(**arguments: Any) -> Any:
            self.asked.append((name, arguments))
            if isinstance(self.result, Exception):
                raise self.result
            return self.result

        return operation


@pytest.fixture
def operations() -> Scripted:
    return Scripted()


@pytest.fixture
async def path(operations: Scripted, tmp_path: Path) -> AsyncIterator[Path]:
    async def watch(_reader: Any, writer: asyncio.StreamWriter, wish: dict[str, Any]) -> None:
        writer.write(json.dumps(wish).encode() + b"\n")

    server = Control(operations, watch)  # type: ignore[arg-type]
    await server.listen(tmp_path / "s.control")
    yield tmp_path / "s.control"
    server.close()
    assert not (tmp_path / "s.control").exists()


async def ask(path: Path, *lines: bytes) -> list[Any]:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"".join(lines))
    writer.write_eof()
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    return [json.loads(line) for line in answer.splitlines()]


async def test_an_operation_is_done_with_all_its_arguments(path: Path, operations: Scripted) -> None:
    operations.result = {"added": 3}
    people = [{"name": str(number)} for number in range(2 * AT_ONCE + 1)]
    assert await ask(path, *request("import_all", {"people": people, "groups": []})) == [{"result": {"added": 3}}]
    assert operations.asked == [("import_all", {"people": people, "groups": []})]


async def test_a_list_comes_in_pieces(path: Path, operations: Scripted) -> None:
    operations.result = [{"n": number} for number in range(AT_ONCE + 5)]
    *pieces, last = await ask(path, *request("list_dids", {}))
    assert [len(piece["items"]) for piece in pieces] == [AT_ONCE, 5]
    assert last == {"is_list": True}
    operations.result = []
    assert await ask(path, *request("list_dids", {})) == [{"is_list": True}]


@pytest.mark.parametrize(
    ("failure", "answer"),
    [
        (AdminError("no account x"), {"error": "AdminError", "text": "no account x"}),
        (BadValue("email", "no address"), {"error": "BadValue", "text": "no address", "field": "email"}),
        (Unavailable("disk full\nmore"), {"error": "AdminError", "text": "disk full"}),
        (KeyError("bug"), {"error": "AdminError", "text": "the server failed: 'bug'; its log says more"}),
    ],
)
async def test_a_failure_is_told_in_one_line(path: Path, operations: Scripted, failure: Exception, answer: Any) -> None:
    operations.result = failure
    assert await ask(path, *request("list_dids", {})) == [answer]


@pytest.mark.parametrize("name", ["_write", "__init__", "nothing", ""])
async def test_only_operations_can_be_asked_for(path: Path, operations: Scripted, name: str) -> None:
    (answer,) = await ask(path, *request(name, {}))
    assert "restart" in answer["text"]
    assert operations.asked == []


_HEAD = b'{"do": "list_dids", "with": {"a": [], "n": 1}}\n'


@pytest.mark.parametrize(
    "octets",
    [
        b"", b"\n", b"[]\n", b"{", b"x" * 3_000_000 + b"\n", b"\xff\n", b'{"do": "list_dids"}\n', b"{}\n\n",
        b'{"do": "list_dids", "with": {}}\n{"more": "x", "items": []}\n\n', b'{"do": "list_dids", "with": {}}\n',
        b"[" * 500_000 + b"\n", b'{"with": {}}\n\n', b'{"do": "list_dids", "with": 5}\n\n', b'"do"\n',
        b"5\n", b"null\n",
        _HEAD + b"x" * 3_000_000 + b"\n\n", _HEAD + b"[]\n\n", _HEAD + b"5\n\n", _HEAD + b"[" * 500_000 + b"\n\n",
        _HEAD + b'{"more": "a"}\n\n', _HEAD + b'{"more": "n", "items": []}\n\n',
        _HEAD + b'{"more": "a", "items": 5}\n\n',
        _HEAD + b'{"more": [], "items": []}\n\n', _HEAD + b'{"more": "a", "ite',
    ],
    ids=lambda octets: repr(octets[:70]),
)  # fmt: skip
async def test_nonsense_is_not_answered(path: Path, operations: Scripted, octets: bytes) -> None:
    """A request that is none leaves no traceback either: asyncio would log it for each."""
    failed: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failed.append(context))
    try:
        assert await ask(path, octets) == []
    except ConnectionError:  # closed before all was read
        pass
    assert operations.asked == failed == []
    operations.result = 1
    assert await ask(path, *request("cancel", {"message": 1})) == [{"result": 1}]


async def test_other_users_are_sent_away(path: Path, operations: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_user_of", lambda _writer: 12345)
    try:
        assert await ask(path, *request("list_dids", {})) == []
    except ConnectionError:
        pass
    assert operations.asked == []


async def test_a_watcher_is_handed_on(path: Path) -> None:
    assert await ask(path, *request("trace", {"account": "desk", "full": True})) == [{"account": "desk", "full": True}]
