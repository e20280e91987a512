"""SIP trunk: a SIP server that takes MESSAGE from us and sends MESSAGE to us.

Examples are VoIP.ms, another sipsms and a GSM gateway. The trunk registers as an account of that server, with a Contact
that nobody else can guess. A request to that Contact is the trunk's if it comes from the server's address (UDP) or on
the connection that we opened (TCP, TLS), because an upstream server cannot be asked for a password. A MESSAGE from
elsewhere to that Contact is refused with 503.

The outcome of a request that was sent and not answered is unknown, as with every carrier: the server may have the
message. Therefore no message is sent while the registrar does not answer, and the first missing response makes the
trunk send a REGISTER.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from hashlib import blake2b
from itertools import count
from typing import Any
from urllib.parse import quote

from sipsms.core.clock import Clock
from sipsms.core.e164 import as_format
from sipsms.core.message import Accepted, Attempt, Deferred, Delivery, Outcome, Rejected, Scope, Unknown
from sipsms.messaging.base_carrier import BaseCarrier
from sipsms.messaging.inbound import Inbound
from sipsms.sip.connection_pool import NotConnected
from sipsms.sip.digest_client import number_in, reason_of
from sipsms.sip.endpoint import Answer, Endpoint, NoResponse, NotSent, Unreachable, Work
from sipsms.sip.headers import quote_string
from sipsms.sip.message import Request, Response
from sipsms.sip.rules import SipRules
from sipsms.sip.settings import SipSettings
from sipsms.sip.transaction import T1
from sipsms.sip.transport import Flow
from sipsms.sip.trunk_client import USER_SAFE, TrunkClient
from sipsms.sip.trunk_inbound import TrunkInbound
from sipsms.sip.trunk_registration import TrunkRegistration
from sipsms.sip.trunk_settings import SipConfig
from sipsms.sip.trunk_transport import TrunkTransport

LINGER = 33.0  # seconds that a connection is kept after a reload: longer than a transaction
_QUIET = 5.0  # seconds without sending after a missing response, where no registration tells that the server is back
_TRIES = 10  # step of CSeq for each attempt: a challenged attempt is several requests

# The message or the kind of request is refused for good.
_NEVER = frozenset((400, 403, 404, 405, 406, 410, 413, 414, 415, 416, 420, 421, 484, 488, 489, 493, 501, 505, 513))
_NO_ANSWER = frozenset((408, 504))  # sent by a proxy: the server behind it may have the message
_WHOLE = frozenset((402, 503))  # the server would refuse every other message too


class Trunk(BaseCarrier):
    """Carrier that sends and receives by one SIP server."""

    def __init__(
        self, name: str, config: SipConfig, endpoint: Endpoint, settings: SipSettings, inbound: Inbound,
        rules: Callable[[], SipRules], key: bytes, trust: Callable[[str], None], clock: Clock,
    ) -> None:  # fmt: skip
        """Create a trunk that is not started. `key` and `trust`: see `TrunkRegistration`."""
        super().__init__(name)
        self.config = config
        self._rules = rules
        self._clock = clock
        self._transport = TrunkTransport(endpoint, config, settings)
        self._client = TrunkClient(endpoint, config)
        self._registration = TrunkRegistration(
            name, config, self._client, self._transport, rules().domain, key, trust, clock
        )
        self.token = self._registration.token
        self._inbound = TrunkInbound(name, config, self.token, self._transport, inbound, rules, clock)
        self._quiet_until = 0.0  # without registration: time of the next attempt after a missing response

    @property
    def drops_duplicates(self) -> bool:
        """True if a delivery may be sent again although the server may have it."""
        return self.config.drops_duplicates

    @property
    def status(self) -> str:
        return self._registration.status if self.config.registers else ""

    # --- life ---

    def start(self) -> None:
        if self.config.registers:
            self._registration.start()

    def stop(self) -> None:
        """Stop registering; requests from the server are still accepted."""
        self._registration.stop()

    async def leave(self) -> None:
        """Remove the registration."""
        await self._registration.leave()

    def close(self) -> None:
        self.stop()
        self._transport.close()

    def admit(self, request: Request, flow: Flow) -> Answer | Work | None:
        """Handle a request to our Contact; None if it is no MESSAGE."""
        return self._inbound.admit(request, flow)

    # --- MESSAGE out ---

    async def send(self, delivery: Delivery) -> Outcome:
        try:
            flow = await self._way()
        except NotConnected as error:
            return Deferred(str(error), scope=Scope.COURIER)
        began = asyncio.get_running_loop().time()
        uri, headers = self._message(delivery)
        cseq, body = count(delivery.attempts * _TRIES + 1), delivery.text.encode("utf-8", "replace")
        try:
            response = await self._client.ask("MESSAGE", uri, headers, flow, cseq, body)
        except NotSent as error:
            return Deferred(str(error), scope=Scope.COURIER)
        except NoResponse as error:
            first = asyncio.get_running_loop().time() - began < T1  # only one copy was sent
            quick = isinstance(error, Unreachable) and error.certain and first
            return self._silent(str(error), flow, nothing_came=quick)
        if response.status in _NO_ANSWER:
            return self._silent(f"{response.status}: something on the way had no answer", flow, nothing_came=False)
        return outcome_of(response, headers["call-id"][0])

    async def _way(self) -> Flow:
        """Return the flow to send a message by. Raises NotConnected."""
        if self.config.registers:
            return await self._registration.flow()
        if self._clock() < self._quiet_until:
            raise NotConnected("the server did not answer a moment ago")
        return await self._transport.any_flow()

    def _message(self, delivery: Delivery) -> tuple[str, dict[str, list[str]]]:
        """Return (Request-URI, header fields).

        Call-ID and tag belong to the delivery: they are the same for each attempt and after a restart.
        """
        number = as_format(delivery.destination, self.config.numbers)
        source = as_format(delivery.source, self.config.numbers)
        facts = f"{self.name} {delivery.id} {delivery.created_at!r} {delivery.source} {delivery.text}"
        name = blake2b(facts.encode("utf-8", "replace"), digest_size=18).hexdigest()
        uri = f"sip:{quote(number, safe=USER_SAFE)}@{self._client.host}"
        from_ = f"<sip:{quote(source, safe=USER_SAFE)}@{self._client.host}>"
        if self.config.from_ == "username":
            from_ = f"{quote_string(source)} <{self._client.aor}>"
        headers = {
            "from": [f"{from_};tag={name[:12]}"],
            "to": [f"<{uri}>"],
            "call-id": [f"{name[:24]}@{self._rules().domain}"],
            "content-type": ["text/plain;charset=utf-8"],
        }
        if self.config.drops_duplicates:  # another sipsms recognizes the message by this header
            headers["x-sms-id"] = [f"{int(delivery.created_at * 1000):012x}{name}"]
        return uri, headers

    def _silent(self, why: str, flow: Flow, *, nothing_came: bool) -> Outcome:
        """Return the outcome of a request without a response.

        `nothing_came`: the server certainly does not have the message.
        """
        self._doubt(why, flow)
        if nothing_came:
            return Deferred(why, scope=Scope.COURIER)
        if self.config.drops_duplicates:
            return Deferred(why, scope=Scope.COURIER, attempt=Attempt.MAYBE_ARRIVED)
        return Unknown(why)

    def _doubt(self, why: str, flow: Flow) -> None:
        """Check whether the server is there, by a REGISTER; without registration, send nothing for a moment."""
        if self.config.registers:
            self._registration.doubt(why)
            return
        self._quiet_until = self._clock() + _QUIET
        self._transport.avoid(flow.remote[0])


def outcome_of(response: Response, call_id: str) -> Outcome:
    """Return the outcome for a final response."""
    status, why = response.status, reason_of(response)
    if status < 300:
        return Accepted(call_id)
    if status in (401, 407):
        return Deferred("the server refuses our password", scope=Scope.COURIER)
    if status in _NEVER or status >= 600:
        return Rejected(why, str(status))
    later = min(number_in(response, "retry-after"), 3600)
    return Deferred(why, retry=float(later) or None, scope=Scope.COURIER if status in _WHOLE else Scope.LANE)


class Trunks:
    """Set of all trunks of a node.

    `by_token`: trunks by the user part of their Contacts.
    """

    def __init__(
        self, build: Callable[[str, SipConfig], Trunk], spawn: Callable[[Coroutine[Any, Any, Any]], None]
    ) -> None:
        self.by_token: dict[str, Trunk] = {}
        self._build = build
        self._spawn = spawn
        self._all: dict[str, Trunk] = {}
        self._old: list[Trunk] = []
        self._started = False

    def make(self, name: str, config: SipConfig) -> Trunk:
        """Return the trunk with these settings.

        An existing trunk is kept if its settings have not changed.
        """
        old = self._all.get(name)
        if old is not None and old.config == config:
            return old
        if old is not None:
            self._replace(old, config)
        trunk = self._all[name] = self._build(name, config)
        if config.registers:
            self.by_token[trunk.token] = trunk
        if self._started:
            trunk.start()
        return trunk

    def _replace(self, old: Trunk, config: SipConfig) -> None:
        """Replace a trunk.

        Its registration is removed only if the new trunk registers another account; else the new trunk takes it over.
        """
        self.by_token.pop(old.token, None)
        if config.registers and _account(config) == _account(old.config):
            old.stop()
            self._old.append(old)  # its requests in progress still get their responses
            asyncio.get_running_loop().call_later(LINGER, self._forget, old)
        else:
            self._spawn(_end(old))

    def _forget(self, old: Trunk) -> None:
        if old in self._old:
            self._old.remove(old)
            old.close()

    def keep(self, names: Iterable[str]) -> None:
        """End the trunks that are no longer configured."""
        for name in self._all.keys() - set(names):
            trunk = self._all.pop(name)
            self.by_token.pop(trunk.token, None)
            self._spawn(_end(trunk))

    def start(self) -> None:
        self._started = True
        for trunk in self._all.values():
            trunk.start()

    async def leave(self) -> None:
        await asyncio.gather(*(trunk.leave() for trunk in self._all.values()))

    def close(self) -> None:
        for trunk in (*self._all.values(), *self._old):
            trunk.close()


def _account(config: SipConfig) -> tuple[object, ...]:
    return config.server, config.port, config.username, config.domain


async def _end(trunk: Trunk) -> None:
    await trunk.leave()
    trunk.close()
