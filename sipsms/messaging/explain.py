"""The route of a message between two numbers, with reasons, for operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sipsms.accounts.directory import Directory
from sipsms.core.account import Did
from sipsms.core.e164 import normalise
from sipsms.core.message import Direction, Message
from sipsms.core.refusal import Refusal, RefusalCode
from sipsms.core.segmentation import encoding_of, segments, sender_name
from sipsms.messaging.build import Messaging
from sipsms.messaging.carrier_options import CarrierOptions
from sipsms.messaging.planner import Limits, spans_of
from sipsms.routing.dialplan import Decision


async def explain(
    messaging: Messaging, directory: Directory, carriers: Mapping[str, CarrierOptions], source: str, target: str,
    text: str,
) -> dict[str, Any]:  # fmt: skip
    """Return the route of a message between two numbers, with reasons.

    `source` may name an account: the route is then that of a message without a stated caller ID. Nothing is sent or
    counted. Raises Unavailable.
    """
    account = directory.account(source) if directory.did(normalise(source) or source) is None else None
    if account is None:
        return _explain(messaging, directory, carriers, source, target, text)
    number, why = await messaging.outbound.caller_id(account, target)
    if not number:
        reason = f"account {account.name} has no caller ID"
        return _explained(Decision(trace=(reason,), refusal=Refusal(RefusalCode.NO_SOURCE, reason)))
    found = _explain(messaging, directory, carriers, number, target, text)
    return {**found, "trace": [f"caller ID {number}: {why}", *found["trace"]]}


def _explain(
    messaging: Messaging, directory: Directory, carriers: Mapping[str, CarrierOptions], source: str, target: str,
    text: str,
) -> dict[str, Any]:  # fmt: skip
    number = normalise(target) or target
    into = directory.did(number)
    out = directory.did(normalise(source) or source)
    if into is not None and out is None:
        return _explained(messaging.router.decide(_incoming(into, source, text)))
    checked = messaging.router.dialplan.numbering.check(target)
    if isinstance(checked, Refusal):
        return _explained(Decision(trace=(f"numbering: {checked.reason}",), refusal=checked))
    account = out.account if out is not None else ""
    sender = out.number if out is not None else source
    message = Message(Direction.OUT, sender, checked, text, "cli", 0.0, account, sender)
    decision = messaging.router.decide(message)
    if decision.refusal is None:
        decision = decision._replace(trace=(*decision.trace, *_segments(message, decision, messaging.limits)))
    owner = directory.account(account)
    if owner is not None and decision.refusal is None:
        refusal = messaging.consent.objection(owner, sender, checked, text)
        decision = decision._replace(refusal=refusal, trace=(*decision.trace, _consent(refusal)))
    return _explained(decision, _carriers(carriers, decision))


def _incoming(did: Did, source: str, text: str) -> Message:
    sender = normalise(source) or source[:64]
    return Message(Direction.IN, sender, did.number, text, "cli", 0.0, did.account, did.number)


def _segments(message: Message, decision: Decision, limits: Limits) -> list[str]:
    """Return how the text is cut at the carriers of the route."""
    if not message.text or not decision.routes:
        return []
    parts = len(spans_of(message, decision.routes, limits))
    how = f"{segments(message.text)} segments at a carrier that takes it whole"
    if parts:
        limit = limits.texts.get(decision.routes[0].courier)
        how = f"in {parts} segments of one SMS" if limit and limit.unit == "segments" else f"in {parts} messages"
    return [f"text: {len(message.text)} characters, {encoding_of(message.text)}, {how}"]


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
