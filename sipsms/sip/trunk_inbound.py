"""Requests of a trunk's server to the trunk's Contact: each MESSAGE is stored, then answered."""

from __future__ import annotations

from collections.abc import Callable

from sipsms.core import log
from sipsms.core.charset import storable
from sipsms.core.clock import Clock
from sipsms.core.courier_id import CourierId
from sipsms.core.e164 import normalise
from sipsms.core.errors import Unavailable
from sipsms.core.refusal import Refusal
from sipsms.messaging.carrier import InboundSms, Part
from sipsms.messaging.inbound import Inbound, carrier_key
from sipsms.sip import body_reader
from sipsms.sip.endpoint import Answer, Work
from sipsms.sip.message import Request
from sipsms.sip.rules import SipRules
from sipsms.sip.transport import Flow
from sipsms.sip.trunk_settings import SipConfig
from sipsms.sip.trunk_transport import TrunkTransport
from sipsms.sip.uri import ParseError

MAX_TEXT = 10_000  # characters


class TrunkInbound:
    def __init__(
        self, name: str, config: SipConfig, token: str, transport: TrunkTransport, inbound: Inbound,
        rules: Callable[[], SipRules], clock: Clock,
    ) -> None:  # fmt: skip
        """Create the handler. `token`: user part of the trunk's Contact."""
        self._name = name
        self._username = config.username
        self._dids = {normalise(one) or one for one in config.dids}
        self._token = token
        self._transport = transport
        self._inbound = inbound
        self._rules = rules
        self._clock = clock

    def admit(self, request: Request, flow: Flow) -> Answer | Work | None:
        """Handle a request to our Contact; None if it is no MESSAGE."""
        if request.method != "MESSAGE":
            return None
        if not self._transport.is_from(flow):  # no challenge: a carrier would treat a challenge as final
            return Answer(503, [("Retry-After", "30")])
        # The store, not the merge check, recognizes copies by different routes and retries under the same CSeq.
        request.user = f"trunk {self._name} {request.vias[0]}"
        return self._take(request)

    async def _take(self, request: Request) -> Answer:
        """Store the message, then answer 200."""
        found = body_reader.read(request)
        if isinstance(found, body_reader.Notice) or "x-sms-copy" in request.headers:
            return Answer(200)
        if isinstance(found, body_reader.Refused):
            return self._refuse(found.status, found.why, *([found.header] if found.header else []))
        text = storable(found.text.replace("\r\n", "\n"))
        if len(text) > MAX_TEXT:
            return self._refuse(413, f"the text has {len(text)} characters, at most {MAX_TEXT}")
        destination = self._destination(request)
        if not destination:
            return self._refuse(488, "for which number? X-SMS-To says none")
        sms = InboundSms(_source(request), destination, text, request.call_id, part=_part(request))
        try:
            key = await self._key(request, sms)
            result = await self._inbound.receive(sms, CourierId.of_carrier(self._name), key)
        except Unavailable:
            return self._rules().unavailable()
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
            return carrier_key(self._name, facts)
        hour = int(self._clock() // 3600)
        before = carrier_key(self._name, f"{facts}\n{hour - 1}")
        return before if await self._inbound.is_stored(before) else carrier_key(self._name, f"{facts}\n{hour}")

    def _refuse(self, status: int, why: str, *headers: tuple[str, str]) -> Answer:
        """Return a refusal.

        Callers must not use 404, because some servers would take our Contact for removed and end the registration.
        """
        log.refused("sip", status, f"carrier {self._name}", why)
        return self._rules().refusal(status, why, *headers)

    def _destination(self, request: Request) -> str:
        """Return the number: X-SMS-To, else a number in To, else our only DID; empty if it is not ours."""
        assert request.to is not None
        stated = request.get("x-sms-to").strip()
        if not stated and request.to_is_sip:
            try:
                user = request.to.parsed().username
            except ParseError:
                user = ""
            own = user == self._token or (user == self._username and normalise(user) not in self._dids)
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
