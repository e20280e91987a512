"""The control socket's server: it does for commands what `Operations` can do, and shows `sipsms trace` the traffic."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sipsms import __version__
from sipsms.app.operations import NAMES, Operations
from sipsms.core import log
from sipsms.core.control_socket import MAX_LINE, bind, line, pieces
from sipsms.core.errors import AdminError, BadValue, Unavailable

_PATIENCE = 5.0  # seconds for a command to send the next line of its request

_NOT_JSON = (ValueError, RecursionError)  # RecursionError: unlimited brackets
_NOT_OURS = (TypeError, LookupError, AttributeError)  # JSON of another shape

Watch = Callable[[asyncio.StreamReader, asyncio.StreamWriter, dict[str, Any]], Awaitable[None]]


class _NoRequest(Exception):
    """The lines are no request, or they end early."""


class Control:
    def __init__(self, operations: Operations, watch: Watch) -> None:
        """`watch`: show the traffic on a connection until it ends."""
        self._operations = operations
        self._watch = watch
        self._server: asyncio.Server | None = None
        self._path: Path | None = None

    async def listen(self, path: Path) -> None:
        """Take requests. A failure is only logged: the server works without them."""
        try:
            sock = bind(path)
            self._server = await asyncio.start_unix_server(self._serve, sock=sock, limit=MAX_LINE)
            self._path = path
        except OSError as error:
            log.warning("control_unavailable", path=str(path), why=error.strerror or str(error))

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if _user_of(writer) not in (0, os.getuid()):
                return
            do, arguments = await _request(reader)
            if do == "trace":
                await self._watch(reader, writer, arguments)
            else:
                await _answer(writer, await self._do(do, arguments))
        except (_NoRequest, OSError):  # the command has gone, or it was none
            pass
        except asyncio.CancelledError:  # the loop ends: asyncio would log a cancelled connection with a traceback
            pass
        finally:
            writer.close()

    async def _do(self, do: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if do not in NAMES:
            return _error("AdminError", f"the running server is sipsms {__version__} and cannot do this: restart it")
        try:
            return {"result": await getattr(self._operations, do)(**arguments)}
        except BadValue as error:
            return {**_error("BadValue", error.why), "field": error.field}
        except (AdminError, Unavailable) as error:
            return _error("AdminError", str(error).splitlines()[0])
        except Exception as error:
            log.crash("command_failed", error)
            return _error("AdminError", f"the server failed: {error}; its log says more")


def _error(kind: str, text: str) -> dict[str, Any]:
    return {"error": kind, "text": text}


def _user_of(writer: asyncio.StreamWriter) -> int:
    """Return the user who has connected (SO_PEERCRED, unix(7))."""
    peer = writer.get_extra_info("socket")
    return int(struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1])


async def _request(reader: asyncio.StreamReader) -> tuple[str, dict[str, Any]]:
    """Read a request. Raises _NoRequest or OSError."""
    try:
        head = json.loads(await _line(reader))
        do, arguments = str(head["do"]), dict(head["with"])
        while more := await _line(reader):
            piece = json.loads(more)
            arguments[piece["more"]] += piece["items"]
    except (*_NOT_JSON, *_NOT_OURS) as error:
        raise _NoRequest(str(error)) from None
    return do, arguments


async def _line(reader: asyncio.StreamReader) -> bytes:
    """Return the next line without its end. Raises _NoRequest if it is longer than MAX_LINE, or comes too slowly."""
    try:
        async with asyncio.timeout(_PATIENCE):
            return (await reader.readuntil(b"\n")).strip()
    except (asyncio.LimitOverrunError, EOFError, TimeoutError) as error:
        raise _NoRequest(str(error)) from None


async def _answer(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    """Write an answer; a long list in pieces, so that it holds up nobody else's messages."""
    result = answer.get("result")
    if isinstance(result, list):
        for piece in pieces(result):
            writer.write(line({"items": piece}))
            await writer.drain()
        answer = {"is_list": True}
    writer.write(line(answer))
    await writer.drain()
