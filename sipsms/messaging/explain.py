"""The route of a message between two numbers, with reasons, for operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sipsms.accounts.directory import Directory
from sipsms.core.account import Did
from sipsms.core.e164 import normalise
from sipsms.core.message import Direction, Message
from sipsms.core.refusal import Refusal
from sipsms.core.segmentation import sender_name
from sipsms.messaging.carrier_options import CarrierOptions
from sipsms.messaging.gateway import Gateway
from sipsms.routing.dialplan import Decision


def explain(
    gateway: Gateway, directory: Directory, carriers: Mapping[str, CarrierOptions], source: str, target: str, text: str
) -> dict[str, Any]:
    """Return the route of a message between two numbers, with reasons.

    Nothing is sent or counted."""
    number = normalise(target) or target
    into = directory.did(number)
    out = directory.did(normalise(source) or source)
    if into is not None and out is None:
        return _explained(gateway.explain(_incoming(into, source, text)))
    checked = gateway.dialplan.numbering.check(target)
    if isinstance(checked, Refusal):
        return _explained(Decision(trace=(f"numbering: {checked.reason}",), refusal=checked))
    account = out.account if out is not None else ""
    sender = out.number if out is not None else source
    message = Message(Direction.OUT, sender, checked, text, "cli", 0.0, account, sender)
    decision = gateway.explain(message)
    owner = directory.account(account)
    if owner is not None and decision.refusal is None:
        refusal = gateway.consent.objection(owner, sender, checked, text)
        decision = decision._replace(refusal=refusal, trace=(*decision.trace, _consent(refusal)))
    return _explained(decision, _carriers(carriers, decision))


def _incoming(did: Did, source: str, text: str) -> Message:
    sender = normalise(source) or source[:64]
    return Message(Direction.IN, sender, did.number, text, "cli", 0.0, did.account, did.number)


def _consent(refusal: Refusal | None) -> str:
    return f"consent and policy: {refusal.reason}" if refusal is not None else "consent and policy: ok"


def _carriers(carriers: Mapping[str, CarrierOptions], decision: Decision) -> list[str]:
    """Return the sender name and the rate that each carrier of the route applies."""
    found = []
    for route in decision.routes:
        options = carriers.get(route.courier.carrier)
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
