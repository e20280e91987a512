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
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from itertools import count
from random import random
from typing import Any
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from sipsms.core import log
from sipsms.core.clock import Clock
from sipsms.core.e164 import as_format, normalise
from sipsms.core.errors import Unavailable
from sipsms.core.message import Accepted, Deferred, Delivery, Outcome, Rejected, Unknown
from sipsms.core.refusal import Refusal
from sipsms.messaging.base_carrier import BaseCarrier
from sipsms.messaging.carrier import InboundSms, Part
from sipsms.messaging.gateway import Receipt, carrier_key
from sipsms.sip import body_reader
from sipsms.sip.connection_pool import NotConnected
from sipsms.sip.digest_client import Digest, Exchange, Registration, number_in, reason_of
from sipsms.sip.endpoint import Answer, Endpoint, NoResponse, NotSent, Unreachable, Work
from sipsms.sip.headers import quote_string
from sipsms.sip.message import Request, Response
from sipsms.sip.rules import SipRules
from sipsms.sip.settings import SipSettings
from sipsms.sip.transaction import T1
from sipsms.sip.transport import Flow, StreamConnection
from sipsms.sip.trunk_settings import SipConfig
from sipsms.sip.trunk_transport import TrunkTransport
from sipsms.sip.uri import ParseError

KEEP_ALIVE = 25.0  # seconds between the CRLFs that keep a NAT mapping open (RFC 5626 section 4.4.1)
PATIENCE = 3.0  # seconds that a message waits for a REGISTER in progress, before it is deferred
LEAVE = 1.0  # seconds for the removal of the registration
LINGER = 33.0  # seconds that a connection is kept after a reload: longer than a transaction
MAX_TEXT = 10_000  # characters
_USER_SAFE = "-_.!~*'()&=+$,;?/"
_TRIES = 10  # step of CSeq for each attempt: a challenged attempt is several requests

# The message or the kind of request is refused for good.
_NEVER = frozenset((400, 403, 404, 405, 406, 410, 413, 414, 415, 416, 420, 421, 484, 488, 489, 493, 501, 505, 513))
_NO_ANSWER = frozenset((408, 504))  # sent by a proxy: the server behind it may have the message
_WHOLE = frozenset((402, 503))  # the server would refuse every other message too

Receive = Callable[[InboundSms, str, bytes | None], Awaitable[Receipt | Refusal | None]]


@dataclass(frozen=True, slots=True)
class TrunkServices:
    """Collaborators shared by all trunks of a node."""

    endpoint: Endpoint
    settings: SipSettings
    receive: Receive
    rules: Callable[[], SipRules]
    trust: Callable[[str], None]  # exempts an address from muting
    clock: Clock
    is_known: Callable[[bytes], Awaitable[bool]]  # returns True if a message with this key exists
    key: bytes  # this installation's key for the tokens


class Trunk(BaseCarrier):
    """Carrier that sends and receives by one SIP server."""

    def __init__(self, name: str, config: SipConfig, around: TrunkServices) -> None:
        super().__init__(name)
        self.config = config
        self._around = around
        self._uplink = TrunkTransport(around.endpoint, config, around.settings)
        password = config.password.get_secret_value()
        self._digest = Digest(config.username, password)
        host = config.domain or config.server
        self._host = f"[{host}]" if ":" in host and host[0] != "[" else host
        self._aor = f"sip:{quote(config.username, safe=_USER_SAFE)}@{self._host}"
        self._dids = {normalise(one) or one for one in config.dids}
        # The token is the same after a restart, so that a request to the previous registration is still ours.
        # It is keyed with a secret of this installation, so that it cannot be computed from the settings.
        facts = "\n".join((name, config.server, config.username))
        self.token = f"trunk-{blake2b(facts.encode(), digest_size=16, key=around.key).hexdigest()}"
        self._instance = uuid5(NAMESPACE_URL, f"{self._aor} {name}")
        self._call_id = f"{os.urandom(12).hex()}@{around.rules().domain}"
        self._cseq = count(1)
        self._registration = Registration(config.expires)
        self._flow: Flow | None = None  # the flow of the registration
        self._woken = asyncio.Event()
        self._tried = asyncio.Event()  # cleared while a REGISTER in progress may restore the registration
        self._pause = 0.0  # seconds until the next REGISTER, set by `_wake`
        self._quiet_until = 0.0  # without registration: time of the next attempt after a missing response
        self._task: asyncio.Task[None] | None = None

    # --- carrier interface ---

    @property
    def drops_duplicates(self) -> bool:
        """True if a delivery may be sent again although the server may have it."""
        return self.config.drops_duplicates

    @property
    def status(self) -> str:
        """Registration state for `sipsms carriers`."""
        if not self.config.registers:
            return ""
        if self._registration.is_good(self._around.clock()):
            until = time.strftime("%H:%M:%S", time.gmtime(self._registration.until))
            return f"registered until {until} UTC"
        return f"not registered: {self._registration.why}"

    # --- life ---

    def start(self) -> None:
        if self.config.registers and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._stay_registered())

    def stop(self) -> None:
        """Stop registering; requests from the server are still accepted."""
        if self._task is not None:
            self._task.cancel()

    async def leave(self) -> None:
        """Remove the registration within `LEAVE` seconds.

        The server must not send to a contact that no longer exists.
        """
        self.stop()
        if self._flow is None or not self._registration.is_good(self._around.clock()):
            return
        try:
            async with asyncio.timeout(LEAVE):
                await self._ask_registrar(self._flow, 0)
        except (NoResponse, TimeoutError):
            log.note("trunk_not_signed_off", carrier=self.name)
        self._registration.until, self._registration.why = 0.0, "signed off"

    def close(self) -> None:
        self.stop()
        self._uplink.close()

    # --- REGISTER ---

    async def _stay_registered(self) -> None:
        while True:
            try:
                wait = await self._register()
            except Exception as error:  # a bug must not end the registration for ever
                log.crash("trunk_failed", error, carrier=self.name)
                wait = self._registration.failed("a bug: see the log", self._around.clock(), random())
            await self._rest(wait)

    async def _register(self) -> float:
        """Send a REGISTER; return the seconds until the next REGISTER."""
        self._woken.clear()
        was = self._registration.why
        try:
            response = await self._ask_any()
        except (NoResponse, NotConnected) as error:
            wait = self._registration.failed(str(error), self._around.clock(), random())
        else:
            wait = self._registration.answered(response, self.token, self._around.clock(), random())
        if self._registration.why != was:
            self._tell()
        if wait:
            self._tried.set()
        return wait

    def _tell(self) -> None:
        if self._registration.why:
            log.warning("trunk_not_registered", carrier=self.name, why=self._registration.why)
        else:
            log.note("trunk_registered", carrier=self.name, server=self.config.server)

    async def _ask_any(self) -> Response:
        """Return the response of the first address that answers. Raises NoResponse or NotConnected."""
        failed: Exception = NotConnected(f"{self.config.server}: no address")
        for address in await self._uplink.addresses():
            try:
                flow = await self._uplink.flow(address)
            except NotConnected as error:
                failed = error
                continue
            try:
                response = await self._ask_registrar(flow, self._registration.expires)
            except NoResponse as error:
                failed = error
                if isinstance(flow, StreamConnection):  # seemingly open, but the peer is not there
                    flow.abort()
                continue
            self._reached(address, flow)
            return response
        raise failed

    def _reached(self, address: str, flow: Flow) -> None:
        self._flow = flow
        self._uplink.prefer(address)
        self._around.trust(address)
        if isinstance(flow, StreamConnection):
            flow.settled = partial(self._lost, flow)

    def _lost(self, flow: Flow) -> None:
        """Handle the close of a connection: register again if it carried the registration."""
        now = self._around.clock()
        if flow is self._flow and self._registration.is_good(now):
            self._wake(self._registration.lost("the connection was closed", now, random()))
            self._tell()

    def _wake(self, pause: float) -> None:
        self._pause = pause
        self._woken.set()
        if pause < PATIENCE:
            self._tried.clear()

    async def _rest(self, seconds: float) -> None:
        """Wait until the next REGISTER is due, and keep the NAT mapping open meanwhile."""
        now = asyncio.get_running_loop().time
        until = now() + seconds
        while (left := until - now()) > 0:
            try:
                async with asyncio.timeout(min(left, KEEP_ALIVE)):
                    await self._woken.wait()
            except TimeoutError:
                if self._flow is not None and self._registration.is_good(self._around.clock()):
                    self._flow.send(b"\r\n\r\n")
                continue
            self._woken.clear()
            until = now() + self._pause

    async def _ask_registrar(self, flow: Flow, expires: int) -> Response:
        at = flow.sent_by() + (f";transport={flow.name}" if flow.reliable else "")
        headers = {
            "from": [f"<{self._aor}>;tag={self._call_id[:12]}"],
            "to": [f"<{self._aor}>"],
            "call-id": [self._call_id],
            "contact": [f'<sip:{self.token}@{at}>;expires={expires};+sip.instance="<urn:uuid:{self._instance}>"'],
            "expires": [str(expires)],
            "allow": ["MESSAGE, OPTIONS"],
        }
        return await self._ask("REGISTER", f"sip:{self._host}", headers, flow, self._cseq)

    async def _ask(
        self, method: str, uri: str, headers: dict[str, list[str]], flow: Flow, cseq: Iterable[int], body: bytes = b""
    ) -> Response:
        """Send a request, answer its challenges, and return the last response. Raises NoResponse."""
        exchange, numbers = Exchange(self._digest, method, uri), iter(cseq)
        while True:
            complete = {"max-forwards": ["70"], **headers, "cseq": [f"{next(numbers)} {method}"]}
            signed = exchange.credentials(os.urandom(8).hex())
            if signed is not None:
                complete[signed[0]] = [signed[1]]
            complete["user-agent"] = ["sipsms"]
            try:
                async with asyncio.timeout(self.config.timeout):
                    response = await self._around.endpoint.request(Request(method, uri, complete, body), flow)
            except TimeoutError:
                raise NoResponse(f"no answer in {self.config.timeout:g} s") from None
            if not exchange.goes_on(response):
                return response

    # --- MESSAGE out ---

    async def send(self, delivery: Delivery) -> Outcome:
        try:
            flow = await self._way()
        except NotConnected as error:
            return Deferred(str(error), whole_courier=True)
        began = asyncio.get_running_loop().time()
        uri, headers = self._message(delivery)
        numbers = count(delivery.attempts * _TRIES + 1)
        try:
            response = await self._ask("MESSAGE", uri, headers, flow, numbers, delivery.text.encode("utf-8", "replace"))
        except NotSent as error:
            return Deferred(str(error), whole_courier=True)
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
            with suppress(TimeoutError):  # shortly after a start or a broken connection
                async with asyncio.timeout(PATIENCE):
                    await self._tried.wait()
            if self._flow is None or not self._registration.is_good(self._around.clock()):
                raise NotConnected(self.status)
            return self._flow
        if self._around.clock() < self._quiet_until:
            raise NotConnected("the server did not answer a moment ago")
        return await self._uplink.any_flow()

    def _message(self, delivery: Delivery) -> tuple[str, dict[str, list[str]]]:
        """Return (Request-URI, header fields).

        Call-ID and tag belong to the delivery: they are the same for each attempt and after a restart.
        """
        number = as_format(delivery.destination, self.config.numbers)
        source = as_format(delivery.source, self.config.numbers)
        facts = f"{self.name} {delivery.id} {delivery.created_at!r} {delivery.source} {delivery.text}"
        name = blake2b(facts.encode("utf-8", "replace"), digest_size=18).hexdigest()
        uri = f"sip:{quote(number, safe=_USER_SAFE)}@{self._host}"
        from_ = f"<sip:{quote(source, safe=_USER_SAFE)}@{self._host}>"
        if self.config.from_ == "username":
            from_ = f"{quote_string(source)} <{self._aor}>"
        headers = {
            "from": [f"{from_};tag={name[:12]}"],
            "to": [f"<{uri}>"],
            "call-id": [f"{name[:24]}@{self._around.rules().domain}"],
            "content-type": ["text/plain;charset=utf-8"],
        }
        if self.config.drops_duplicates:  # another sipsms recognizes the message by this header
            headers["x-sms-id"] = [f"{int(delivery.created_at * 1000):012x}{name}"]
        return uri, headers

    def _silent(self, why: str, flow: Flow, *, nothing_came: bool) -> Outcome:
        """Return the outcome of a request without a response.

        `nothing_came`: the server certainly does not have the message.
        """
        self._ask_after(why, flow)
        if nothing_came:
            return Deferred(why, whole_courier=True)
        return Deferred(why, whole_courier=True, maybe=True) if self.config.drops_duplicates else Unknown(why)

    def _ask_after(self, why: str, flow: Flow) -> None:
        """Check whether the server is there, by a REGISTER; without registration, pause sending for 5 s."""
        if not self.config.registers:
            self._quiet_until = self._around.clock() + 5.0
            self._uplink.avoid(flow.remote[0])
            return
        if self._registration.is_good(self._around.clock()):
            self._registration.until, self._registration.why = 0.0, why
            self._tell()
            self._wake(0.0)

    # --- MESSAGE in ---

    def admit(self, request: Request, flow: Flow) -> Answer | Work | None:
        """Handle a request to our Contact; None if it is no MESSAGE."""
        if request.method != "MESSAGE":
            return None
        if not self._uplink.is_from(flow):  # no challenge: a carrier would treat a challenge as final
            return Answer(503, [("Retry-After", "30")])
        # The store, not the merge check, recognizes copies by different routes and retries under the same CSeq.
        request.user = f"trunk {self.name} {request.vias[0]}"
        return self._take(request)

    async def _take(self, request: Request) -> Answer:
        """Store the message, then answer 200."""
        found = body_reader.read(request)
        if isinstance(found, body_reader.Notice) or "x-sms-copy" in request.headers:
            return Answer(200)
        if isinstance(found, body_reader.Refused):
            return self._refuse(found.status, found.why, *([found.header] if found.header else []))
        text = found.text.replace("\r\n", "\n").replace("\0", "")
        if len(text) > MAX_TEXT:
            return self._refuse(413, f"the text has {len(text)} characters, at most {MAX_TEXT}")
        destination = self._destination(request)
        if not destination:
            return self._refuse(488, "for which number? X-SMS-To says none")
        sms = InboundSms(_source(request), destination, text, request.call_id, part=_part(request))
        try:
            key = await self._key(request, sms)
            result = await self._around.receive(sms, f"carrier:{self.name}", key)
        except Unavailable:
            return self._around.rules().unavailable()
        if result is None:
            return self._refuse(488, f"{destination[:32]} is not a number of this server")
        if isinstance(result, Refusal):
            return self._refuse(488, result.reason)
        return Answer(200)

    async def _key(self, request: Request, sms: InboundSms) -> bytes | None:
        """Return the duplicate key of an incoming message, equal for a copy under another CSeq.

        A sipsms gives each message its own Call-ID. Some other servers use one Call-ID for all messages, and people do
        repeat a text, so the key of those servers' messages is valid for one to two hours only. Raises Unavailable.
        """
        facts = "\n".join((sms.remote_id, sms.source, normalise(sms.destination) or sms.destination, sms.text))
        if request.get("user-agent").startswith("sipsms"):
            return carrier_key(self.name, facts)
        hour = int(self._around.clock() // 3600)
        before = carrier_key(self.name, f"{facts}\n{hour - 1}")
        known = before is not None and await self._around.is_known(before)
        return before if known else carrier_key(self.name, f"{facts}\n{hour}")

    def _refuse(self, status: int, why: str, *headers: tuple[str, str]) -> Answer:
        """Return a refusal.

        Callers must not use 404, because some servers would take our Contact for removed and end the registration.
        """
        log.refused("sip", status, f"carrier {self.name}", why)
        return self._around.rules().refusal(status, why, *headers)

    def _destination(self, request: Request) -> str:
        """Return the number: X-SMS-To, else a number in To, else our only DID; empty if it is not ours."""
        assert request.to is not None
        stated = request.get("x-sms-to").strip()
        if not stated and request.to_is_sip:
            try:
                user = request.to.parsed().username
            except ParseError:
                user = ""
            own = user == self.token or (user == self.config.username and normalise(user) not in self._dids)
            stated = user if not own and _is_number(user) else ""
        if not stated:
            return next(iter(self._dids)) if len(self._dids) == 1 else ""
        number = normalise(stated) or ""
        return number if not self._dids or number in self._dids else ""


def _is_number(user: str) -> bool:
    return len(normalise(user) or "") >= 10 and user.lstrip("+").isdigit()


def _source(request: Request) -> str:
    assert request.from_ is not None
    try:
        return request.from_.parsed().username
    except ParseError:
        return request.from_.uri.removeprefix("tel:")[:64]


def _part(request: Request) -> Part | None:
    """Parse X-SMS-Part, with which a sipsms numbers the segments of a long text.

    Returns None if absent or malformed. "2/3" means segment 2 of 3; ".2" is also the end of that segment's Call-ID user
    part.
    """
    number, slash, total = request.get("x-sms-part").partition("/")
    if not (slash and all(one.isascii() and one.isdigit() and len(one) < 4 for one in (number, total))):
        return None
    name = request.call_id.partition("@")[0].removesuffix(f".{number}")
    return Part(name, int(number), int(total)) if 0 < int(number) <= int(total) else None


def outcome_of(response: Response, call_id: str) -> Outcome:
    """Return the outcome for a final response."""
    status, why = response.status, reason_of(response)
    if status < 300:
        return Accepted(call_id)
    if status in (401, 407):
        return Deferred("the server refuses our password", whole_courier=True)
    if status in _NEVER or status >= 600:
        return Rejected(why, str(status))
    later = min(number_in(response, "retry-after"), 3600)
    return Deferred(why, retry_after=float(later) or None, whole_courier=status in _WHOLE)


class Trunks:
    """Set of all trunks of a node.

    `by_token`: trunks by the user part of their Contacts.
    """

    def __init__(self, around: TrunkServices, spawn: Callable[[Coroutine[Any, Any, Any]], None]) -> None:
        self.by_token: dict[str, Trunk] = {}
        self._around = around
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
        trunk = self._all[name] = Trunk(name, config, self._around)
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
