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
from sipsms.core.e164 import normalise
from sipsms.core.message import Media
from sipsms.core.refusal import Refusal
from sipsms.core.segmentation import length
from sipsms.messaging.carrier import InboundSms
from sipsms.messaging.explain import explain
from sipsms.messaging.media import MediaRefused
from sipsms.messaging.media_store import MAX_FILES, MAX_TEXT
from sipsms.store.accounts import AdminError

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
        result = await here.gateway.receive(InboundSms(source, target, text), "cli")
        if result is None:
            raise AdminError(f"{target} is not a DID of this server")
        if isinstance(result, Refusal):
            raise AdminError(result.reason)
        return f"message {result.message_id} accepted"

    return str(_run(config, work, target))


def send(
    config: Config, source: str, target: str, text: str, files: Sequence[Path] = (), due_at: float | None = None
) -> str:
    """Send an SMS, or with `files` an MMS, not before `due_at`.

    Raises AdminError with the reason."""
    if due_at is not None and due_at > time.time() + _LONGEST:
        raise AdminError("that is more than a year ahead")

    async def work(here: Offline) -> str:
        did = here.directory.did(source)
        owner = here.directory.account(did.account) if did is not None else None
        if owner is None or not here.directory.may_send_from(owner, source):
            raise AdminError(f"{source} is not an SMS-enabled DID of this server")
        number = here.gateway.dialplan.numbering.check(normalise(target) or target)
        if isinstance(number, Refusal):
            raise AdminError(number.reason)
        _check_length(config, text, len(files))
        media = [await _saved(here, path) for path in files]
        result = await here.gateway.send(owner, source, number, text, "cli", media=media, due_at=due_at)
        if isinstance(result, Refusal):
            raise AdminError(result.reason)
        return f"message {result.message_id} accepted"

    return str(_run(config, work, source))


async def _saved(here: Offline, path: Path) -> Media:
    try:
        return await here.files.save(await asyncio.to_thread(path.read_bytes), path.name)
    except MediaRefused as error:
        raise AdminError(f"{path}: {error}") from None
    except OSError as error:
        raise AdminError(f"{path}: {error.strerror}") from None


def _check_length(config: Config, text: str, files: int) -> None:
    if files:
        if files > MAX_FILES:
            raise AdminError(f"{files} files, an MMS has at most {MAX_FILES}")
        if len(text) > MAX_TEXT:
            raise AdminError(f"the text has {len(text)} characters, with files at most {MAX_TEXT}")
        return
    unit, limit = config.messages.length_unit, config.messages.max_length
    if not text.strip():
        raise AdminError("the text is empty")
    if length(text, unit) > limit:
        raise AdminError(f"the text has {length(text, unit)} {unit}, at most {limit}")


def route(config: Config, source: str, target: str, text: str = "") -> dict[str, Any]:
    """Return the route of a message between two numbers, with reasons; nothing is sent or counted."""

    async def work(here: Offline) -> dict[str, Any]:
        return explain(here.gateway, here.directory, config.carriers, source, target, text)

    result: dict[str, Any] = _run(config, work, target)
    return result
