"""Implementation of `sipsms receive`, `send` and `route`.

The gateway runs in the command's own process, with the same rules as in the server. A running server claims the stored
deliveries.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from sipsms.accounts.directory import Directory
from sipsms.app.node import run_loop
from sipsms.app.offline import Offline, offline
from sipsms.app.settings import Config
from sipsms.core import log
from sipsms.core.errors import AdminError
from sipsms.core.refusal import Refusal
from sipsms.messaging.carrier import InboundSms
from sipsms.messaging.explain import explain
from sipsms.messaging.order import File, Order

_LONGEST: Final = 366 * 86400.0  # seconds that a message may be scheduled ahead


def _run(config: Config, work: Callable[[Offline], Awaitable[Any]], number: str) -> Any:
    def phones(directory: Directory) -> list[str]:
        did = directory.did(number)
        return [did.sip_account] if did is not None and did.sip_account else []

    log.setup("warning", "console")
    return run_loop(offline(config, work, phones))


def receive(config: Config, source: str, target: str, text: str) -> str:
    """Deliver an SMS to a DID. Raises AdminError if the destination is not a DID."""

    async def work(here: Offline) -> str:
        result = await here.messaging.inbound.receive(InboundSms(source, target, text), "cli")
        if result is None:
            raise AdminError(f"{target} is not a DID of this server")
        if isinstance(result, Refusal):
            raise AdminError(result.reason)
        return f"message {result.message_id} accepted"

    return str(_run(config, work, target))


def send(
    config: Config, source: str, target: str, text: str, files: Sequence[Path] = (), due_at: float | None = None
) -> str:
    """Send an SMS, or with `files` an MMS, not before `due_at`. Raises AdminError."""
    if due_at is not None and due_at > time.time() + _LONGEST:
        raise AdminError("that is more than a year ahead")

    async def work(here: Offline) -> str:
        did = here.directory.did(source)
        owner = here.directory.account(did.account) if did is not None else None
        if owner is None or not here.directory.may_send_from(owner, source):
            raise AdminError(f"{source} is not an SMS-enabled DID of this server")
        unit, most = config.messages.length_unit, config.messages.max_length
        given = [await asyncio.to_thread(_read, path) for path in files]
        sent = await here.messaging.outbound.send(
            Order(owner, source, target, text, "cli", given, max_text=most, unit=unit, due_at=due_at)
        )
        if isinstance(sent, Refusal):
            raise AdminError(sent.reason)
        return f"message {sent.message} accepted"

    return str(_run(config, work, source))


def _read(path: Path) -> File:
    try:
        return File(path.read_bytes(), name=path.name)
    except OSError as error:
        raise AdminError(f"{path}: {error.strerror}") from None


def route(config: Config, source: str, target: str, text: str = "") -> dict[str, Any]:
    """Return the route of a message between two numbers, with reasons; nothing is sent or counted."""

    async def work(here: Offline) -> dict[str, Any]:
        return explain(here.messaging, here.directory, config.carriers, source, target, text)

    result: dict[str, Any] = _run(config, work, target)
    return result
