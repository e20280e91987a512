"""A carrier with an HTTP API: it writes down each request the moment it has been read, and answers with an id."""

from __future__ import annotations

import asyncio
import json
import random

from .book import Book

SLOW = 0.3  # of its answers take a while


class Carrier:
    def __init__(self, book: Book, dice: random.Random) -> None:
        self._book = book
        self._dice = dice
        self._number = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> int:
        """The port."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while True:
                await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the server was killed, or this play is over
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        asked = json.loads(await reader.readexactly(int(fields.get("content-length", "0"))))
        self._number += 1
        number = self._number
        self._book.write("carrier", text=asked["text"], source=asked["from"], to=asked["to"], id=f"c-{number}")
        if self._dice.random() < SLOW:
            await asyncio.sleep(self._dice.uniform(0.0, 0.3))
        body = json.dumps({"data": {"id": f"c-{number}"}}).encode()
        start = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        writer.write(start + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
