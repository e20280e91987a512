"""`sipsms receive`, `send` and `route`: the gateway used by hand, in the command's own process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from sipsms import log
from sipsms.app import run_loop
from sipsms.beside import Beside, beside
from sipsms.config import Config
from sipsms.dialplan import Decision, Refusal
from sipsms.directory import Directory
from sipsms.media import MAX_FILES, MAX_TEXT
from sipsms.model import Did, Direction, Media, Message
from sipsms.numbers import normalise
from sipsms.ports import InboundSms, MediaRefused
from sipsms.store.admin import AdminError
from sipsms.text import length, sender_name


def _run(config: Config, work: Callable[[Beside], Awaitable[Any]], number: str) -> Any:
    def phones(directory: Directory) -> list[str]:
        did = directory.did(number)
        return [did.sip_account] if did is not None and did.sip_account else []

    log.setup("warning", "console")
    return run_loop(beside(config, work, phones))


def receive(config: Config, source: str, target: str, text: str) -> str:
    """Raises AdminError if the destination is no DID."""

    async def work(here: Beside) -> str:
        result = await here.gateway.receive(InboundSms(source, target, text), "cli")
        if result is None:
            raise AdminError(f"{target} is not a DID of this server")
        if isinstance(result, Refusal):
            raise AdminError(result.reason)
        return f"message {result.message_id} accepted"

    return str(_run(config, work, target))


def send(config: Config, source: str, target: str, text: str, files: Sequence[Path] = ()) -> str:
    """An SMS, with `files` an MMS. Raises AdminError with the rule that forbids it."""

    async def work(here: Beside) -> str:
        did = here.directory.did(source)
        owner = here.directory.account(did.account) if did is not None else None
        if owner is None or not here.directory.may_send_from(owner, source):
            raise AdminError(f"{source} is not an SMS-enabled DID of this server")
        number = here.gateway.dialplan.numbering.check(normalise(target) or target)
        if isinstance(number, Refusal):
            raise AdminError(number.reason)
        _check_length(config, text, len(files))
        media = [await _saved(here, path) for path in files]
        result = await here.gateway.send(owner, source, number, text, "cli", media=media)
        if isinstance(result, Refusal):
            raise AdminError(result.reason)
        return f"message {result.message_id} accepted"

    return str(_run(config, work, source))


async def _saved(here: Beside, path: Path) -> Media:
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
    """What would become of a message from one number to another, and why; nothing is sent or counted."""

    async def work(here: Beside) -> dict[str, Any]:
        number = normalise(target) or target
        into = here.directory.did(number)
        out = here.directory.did(normalise(source) or source)
        if into is not None and out is None:
            return _explained(here.gateway.explain(_incoming(into, source, text)))
        checked = here.gateway.dialplan.numbering.check(target)
        if isinstance(checked, Refusal):
            return _explained(Decision(trace=(f"numbering: {checked.reason}",), refusal=checked))
        account = out.account if out is not None else ""
        sender = out.number if out is not None else source
        message = Message(Direction.OUT, sender, checked, text, "cli", 0.0, account, sender)
        decision = here.gateway.explain(message)
        owner = here.directory.account(account)
        if owner is not None and decision.refusal is None:
            refusal = here.gateway.consent.objection(owner, sender, checked, text)
            decision = decision._replace(refusal=refusal, trace=(*decision.trace, _consent(refusal)))
        return _explained(decision, _carriers(config, decision))

    result: dict[str, Any] = _run(config, work, target)
    return result


def _incoming(did: Did, source: str, text: str) -> Message:
    sender = normalise(source) or source[:64]
    return Message(Direction.IN, sender, did.number, text, "cli", 0.0, did.account, did.number)


def _consent(refusal: Refusal | None) -> str:
    return f"consent and policy: {refusal.reason}" if refusal is not None else "consent and policy: ok"


def _carriers(config: Config, decision: Decision) -> list[str]:
    """What each carrier on the way adds: its sender's name, its rate."""
    found = []
    for route in decision.routes:
        options = config.carriers.get(route.courier.removeprefix("carrier:"))
        if options is None:
            continue
        if options.sender_name:
            found.append(f"{route.courier}: shown as {sender_name(options.sender_name, options.sender_length)}")
        if options.rate:
            found.append(f"{route.courier}: at most {options.rate:g} a second")
    return found


def _explained(decision: Decision, more: Sequence[str] = ()) -> dict[str, Any]:
    routes = () if decision.refusal else decision.routes
    return {
        "routes": [f"{one.courier} -> {one.destination} (from {one.source})" for one in routes],
        "trace": [*decision.trace, *more],
        "refused": decision.refusal.reason if decision.refusal else None,
    }
