"""`sipsms receive`, `send` and `route`: the gateway used by hand, in the command's own process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sipsms import log
from sipsms.app import run_loop
from sipsms.beside import Beside, beside
from sipsms.config import Config
from sipsms.dialplan import Facts, Refusal
from sipsms.directory import Directory
from sipsms.model import Direction
from sipsms.numbers import normalise
from sipsms.ports import InboundSms
from sipsms.store.admin import AdminError
from sipsms.text import length


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


def send(config: Config, source: str, target: str, text: str) -> str:
    """Raises AdminError with the rule that forbids it."""

    async def work(here: Beside) -> str:
        did = here.directory.did(source)
        owner = here.directory.account(did.account) if did is not None else None
        if owner is None or not here.directory.may_send_from(owner, source):
            raise AdminError(f"{source} is not an SMS-enabled DID of this server")
        number = here.gateway.dialplan.numbering.check(normalise(target) or target)
        if isinstance(number, Refusal):
            raise AdminError(number.reason)
        _check_length(config, text)
        result = await here.gateway.send(owner, source, number, text, "cli")
        if isinstance(result, Refusal):
            raise AdminError(result.reason)
        return f"message {result.message_id} accepted"

    return str(_run(config, work, source))


def _check_length(config: Config, text: str) -> None:
    unit, limit = config.messages.length_unit, config.messages.max_length
    if not text.strip():
        raise AdminError("the text is empty")
    if length(text, unit) > limit:
        raise AdminError(f"the text has {length(text, unit)} {unit}, at most {limit}")


def route(config: Config, source: str, target: str) -> dict[str, Any]:
    """What the dialplan says to a message from one number to another, and why."""

    async def work(here: Beside) -> dict[str, Any]:
        number = normalise(target) or target
        into = here.directory.did(number)
        out = here.directory.did(normalise(source) or source)
        if into is not None and out is None:
            facts = Facts(Direction.IN, into.account, number, source, number)
            decision = here.gateway.dialplan.incoming(facts, into)
        else:
            account = out.account if out is not None else ""
            checked = here.gateway.dialplan.numbering.check(target)
            if isinstance(checked, Refusal):
                return {"routes": [], "trace": [f"numbering: {checked.reason}"], "refused": checked.reason}
            facts = Facts(Direction.OUT, account, out.number if out else "", source, checked)
            decision = here.gateway.dialplan.outgoing(facts)
        return {
            "routes": [f"{one.courier} -> {one.destination} (from {one.source})" for one in decision.routes],
            "trace": list(decision.trace),
            "refused": decision.refusal.reason if decision.refusal else None,
        }

    result: dict[str, Any] = _run(config, work, target)
    return result
