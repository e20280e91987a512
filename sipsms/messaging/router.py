"""Routes of a message: of an SMS by the dialplan, of every other message by its kind."""

from __future__ import annotations

from typing import Final

from sipsms.accounts.directory import Directory
from sipsms.core.courier_id import CALLBACK, MAIL, SIP, SMPP, WEBHOOK
from sipsms.core.message import Direction, Message, MessageKind, Route
from sipsms.core.refusal import Refusal, RefusalCode
from sipsms.messaging.opt_out import SendingPolicy
from sipsms.messaging.planner import Limits
from sipsms.routing.dialplan import Decision, Dialplan, Facts

_REPORTS: Final = {MessageKind.STATUS: WEBHOOK, MessageKind.DLR: CALLBACK, MessageKind.SMPP: SMPP}


class Router:
    def __init__(self, directory: Directory, dialplan: Dialplan, consent: SendingPolicy, limits: Limits) -> None:
        self.dialplan = dialplan  # a reload replaces it
        self.operator = ""  # e-mail address for alarms; empty: there are none
        self._directory = directory
        self._consent = consent
        self._limits = limits

    def decide(self, message: Message) -> Decision:
        """Return the routes of a message, or a refusal."""
        if not message.did:
            return self._without_number(message)
        if message.kind in _REPORTS:
            return Decision((Route(_REPORTS[message.kind], message.did, message.source, "of one it sent"),))
        kind = "mms" if message.media else "sms"
        facts = Facts(message.direction, message.account, message.did, message.source, message.destination, kind)
        if message.direction is Direction.IN:
            return self._incoming(facts)
        decision = self.dialplan.outgoing(facts)
        return self._with_mms(decision) if message.media and decision.refusal is None else decision

    def _without_number(self, message: Message) -> Decision:
        """To the operator, or to the account that the message names."""
        if message.kind is not MessageKind.ALARM:
            return Decision((Route(SIP, message.destination, message.source, "to an account"),))
        if not self.operator:
            return Decision(refusal=Refusal(RefusalCode.NO_ROUTE, "the operator has no e-mail address"))
        return Decision((Route(MAIL, self.operator, message.source, "to the operator"),))

    def _incoming(self, facts: Facts) -> Decision:
        did = self._directory.did(facts.did)
        if did is not None:
            sender = self._directory.did(facts.source) if did.forward else None
            forwards = sender is not None and bool(sender.forward)
            facts = facts._replace(kept=self._consent.is_kept(did, facts.source), forwards=forwards)
        return self.dialplan.incoming(facts, did)

    def _with_mms(self, decision: Decision) -> Decision:
        """Only the carriers that take media."""
        able = tuple(route for route in decision.routes if route.courier not in self._limits.without_mms)
        trace = [f"{route.courier}: takes no MMS" for route in decision.routes if route not in able]
        if able:
            return Decision(able, (*decision.trace, *trace))
        refusal = Refusal(RefusalCode.NO_MMS, "no carrier for this number takes MMS")
        return Decision((), (*decision.trace, *trace), refusal)
