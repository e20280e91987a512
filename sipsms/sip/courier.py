"""Courier of one message to one device by SIP MESSAGE (RFC 3428).

docs/phones.md lists what phones need. Request-URI is the registered contact and To is the AOR as the phone wrote it.
From is the sender's number at the host that the phone registered with, so that its reply comes to this server. Call-ID
and From tag belong to the delivery, so that a phone which has the message already drops the copy. CSeq counts the
attempts.

A text too large for one request is sent in several segments, one after the other. The courier remembers the accepted
segments, so that a retry continues after the last accepted segment.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from email.utils import formatdate
from hashlib import blake2b
from urllib.parse import quote

from sipsms.core.clock import Clock
from sipsms.core.message import EVENT, Deferred, Delivered, Delivery, Media, Outcome, Rejected, is_copy
from sipsms.core.registration import Binding
from sipsms.messaging.location import Location
from sipsms.sip.body_writer import ASTERISK_BODY, Form, forms, is_asterisk, limit_of, pieces
from sipsms.sip.endpoint import Endpoint, NoResponse
from sipsms.sip.message import Request, Response
from sipsms.sip.rules import SipRules
from sipsms.sip.transport import Flow, hostport
from sipsms.sip.uri import ParseError, Uri, parse_uri

_USER_SAFE = "-_.!~*'()&=+$,;?/"
_LATER = frozenset((480, 481, 482, 486, 487, 491))  # the phone is reachable and may accept the message later
# The message itself is refused for good: deliveries behind it in the lane must not wait.
_NEVER = frozenset((400, 406, 413, 414, 415, 416, 420, 421, 488, 493))
_USUAL_HEAD = 600  # bytes of a request without the phone's own URIs; an upper bound
_NEXT_FORM = 1_000_000  # added to CSeq for each further form; attempts never reach it
_YEAR_2026 = 1_767_225_600  # seconds since the epoch
_REMEMBERED = 10_000  # partly accepted deliveries remembered


class _NextWay(Exception):
    """Failure on this flow; the phone may have another flow (RFC 5626 section 4.3).

    `outcome`: outcome of the delivery if the phone has no other flow.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class SipCourier:
    def __init__(
        self, endpoint: Endpoint, location: Location, rules: Callable[[], SipRules], clock: Clock,
        max_datagram: int = 1300, media_url: Callable[[Media], str] = lambda media: media.url,
    ) -> None:  # fmt: skip
        """`max_datagram`: larger requests do not leave by UDP (RFC 3261 section 18.1.1). `media_url`: returns the
        public URL of an MMS attachment.
        """
        self._media_url = media_url
        self._endpoint = endpoint
        self._location = location
        self._rules = rules
        self._clock = clock
        self._max_datagram = max_datagram
        self._cseq = first_cseq(clock())
        self._arrived: OrderedDict[int, tuple[int, int]] = OrderedDict()  # delivery -> accepted segments, bytes of each

    async def deliver(self, delivery: Delivery) -> Outcome:
        """Try the device's flows, newest first, until one of the flows gives an outcome."""
        bindings = self._location.ways(delivery.device, self._clock())
        if not bindings:
            return Deferred("not registered", retry=EVENT)
        why: Outcome = Deferred("not registered", retry=EVENT)
        unanswered = False
        for binding in bindings:
            try:
                return await self._deliver_to(delivery, binding, unanswered)
            except _NextWay as failed:
                why = failed.outcome
            except NoResponse as error:
                why, unanswered = Deferred(str(error)), True
        return why

    async def _deliver_to(self, delivery: Delivery, binding: Binding, unanswered: bool) -> Outcome:
        """Send the remaining segments by one flow. Raises NoResponse and _NextWay.

        `unanswered`: the request went out by another flow of the same phone and was not answered.
        """
        flow = self._endpoint.flow(binding.received, binding.local, binding.flow)
        if flow is None:
            raise _NextWay(Deferred("its connection is closed", retry=EVENT))
        text = self._text(delivery)
        count, limit = self._arrived.get(delivery.id, (0, -1))
        if limit < 0:
            flow, limit = self._limit(delivery, binding, flow, len(text.encode("utf-8", "replace")))
        parts = pieces(text, 0 if delivery.message.kind else limit)
        outcome: Outcome = Delivered()
        for number, part in enumerate(parts[count:], count + 1):
            response = await self._send(delivery, binding, flow, part, number, len(parts))
            if response.status == 482 and unanswered:  # the phone has received the same request by the other flow
                outcome = Delivered("482: it came by another flow")
            else:
                outcome = await self._outcome(response, binding, delivery)
            if not isinstance(outcome, Delivered):
                return outcome
            if len(parts) > 1:
                self._note(delivery.id, number, limit)
        self._arrived.pop(delivery.id, None)
        return outcome

    def _limit(self, delivery: Delivery, binding: Binding, flow: Flow, size: int) -> tuple[Flow, int]:
        """Return the flow to use and the most bytes of text in one request (0: no limit)."""
        rough = _USUAL_HEAD + len(binding.contact) + len(binding.to_uri) + sum(map(len, binding.path))
        if size + rough <= min(self._max_datagram, ASTERISK_BODY):
            return flow, 0
        bare = forms(delivery.message, "", binding.accept, self._aor(binding)[0])[0]
        head = len(self._request(delivery, binding, bare, 1, 1).to_bytes())
        limit = limit_of(binding, head, self._max_datagram, reliable=flow.reliable)
        if not flow.reliable and size > limit:
            flow = self._stream_of(binding) or flow
            limit = limit_of(binding, head, self._max_datagram, reliable=flow.reliable)
        return flow, limit

    def _note(self, delivery: int, count: int, limit: int) -> None:
        self._arrived[delivery] = (count, limit)
        if len(self._arrived) > _REMEMBERED:
            self._arrived.popitem(last=False)

    async def _send(
        self, delivery: Delivery, binding: Binding, flow: Flow, text: str, number: int, total: int
    ) -> Response:
        """Send one segment in the first form that the phone accepts."""
        aor, _ = self._aor(binding)
        response = None
        for index, form in enumerate(forms(delivery.message, text, binding.accept, aor)):
            request = self._request(delivery, binding, form, number, total)
            if index:  # a new CSeq (RFC 3261 section 8.1.3.5), else a phone sees a merged request
                cseq = int(request.headers["cseq"][0].split()[0])
                request.headers["cseq"] = [f"{cseq + index * _NEXT_FORM} MESSAGE"]
            response = await self._endpoint.request(request, flow)
            if response.status != 415:
                break
        assert response is not None
        return response

    def _stream_of(self, binding: Binding) -> Flow | None:
        """Return a stream flow of the same phone, which has no size limit.

        Returns None if there is no such flow.
        """
        for other in self._location.ways(binding.device, self._clock()):
            if other.flow and (flow := self._endpoint.flow(other.received, other.local, other.flow)) is not None:
                return flow
        return None

    def _text(self, delivery: Delivery) -> str:
        prefix = self._rules().messages.copy_prefix if is_copy(delivery) else ""
        links = [self._media_url(one) for one in delivery.message.media]
        return prefix + "\n".join(filter(None, (delivery.message.text, *links)))

    def _request(self, delivery: Delivery, binding: Binding, form: Form, number: int, total: int) -> Request:
        message = delivery.message
        aor, at = self._aor(binding)
        call_id, tag, cseq = self._names(delivery, binding, f".{number}" if total > 1 else "")
        headers = {
            "route": list(binding.path),
            "max-forwards": ["70"],
            "from": [f"<sip:{quote(delivery.source, safe=_USER_SAFE)}@{at}>;tag={tag}"],
            "to": [f"<{aor}>"],
            "call-id": [call_id],
            "cseq": [f"{cseq} MESSAGE"],
            "date": [formatdate(message.received_at, usegmt=True)],
            "x-sms-to": [message.did] if message.did else [],
            "x-sms-copy": ["sent"] if is_copy(delivery) else [],
            "x-sms-part": [f"{number}/{total}"] if total > 1 else [],
            "content-type": [form.content_type],
            "user-agent": ["sipsms"],
        }
        return Request("MESSAGE", request_uri(binding.contact), headers, form.body)

    def _names(self, delivery: Delivery, binding: Binding, piece: str) -> tuple[str, str, int]:
        """Return (Call-ID, From tag, CSeq).

        Asterisk does not drop copies by Call-ID, and runs requests with different Call-IDs through its dialplan in any
        order. All messages to one Asterisk device therefore share a Call-ID and count CSeq up.
        """
        domain = self._rules().domain
        if is_asterisk(binding):
            self._cseq += 1
            return f"device-{binding.device:x}@{domain}", f"device-{binding.device:x}", self._cseq
        # A hash hides the delivery's id and is the same after a restart.
        facts = f"{delivery.id} {delivery.created_at!r} {delivery.source} {delivery.message.text}"
        name = blake2b(facts.encode("utf-8", "replace"), digest_size=12).hexdigest()
        return f"{name}{piece}@{domain}", f"{name[:12]}{piece}", delivery.attempts

    def _aor(self, binding: Binding) -> tuple[str, str]:
        """Return (To, host for From) as the phone wrote them when it registered."""
        domain = self._rules().domain
        try:
            uri = parse_uri(binding.to_uri)
        except ParseError:
            return f"sip:{binding.aor}@{domain}", domain
        host = hostport(uri.host, uri.port) if uri.port else uri.host
        return str(Uri(uri.scheme, uri.user, uri.host, uri.port)), host

    async def _outcome(self, response: Response, binding: Binding, delivery: Delivery) -> Outcome:
        status, reason = response.status, f"{response.status} {response.reason}"[:120]
        if status < 300:
            return Delivered(reason)
        if status in (404, 410):
            await self._location.drop(binding)
            raise _NextWay(Deferred(reason, retry=EVENT))
        if status in (408, 430, 503):
            raise _NextWay(Deferred(reason))
        if status in _LATER:
            return Deferred(reason)
        if status in _NEVER or status >= 600 or delivery.message.kind:
            return Rejected(response.reason[:120], str(status))
        # 3xx and 5xx may be temporary; any other 4xx lasts until the phone registers again.
        return Deferred(reason, retry=EVENT if status // 100 == 4 else None)


def first_cseq(now: float) -> int:
    """Return the CSeq to count from after a start: higher than before the start, below 2**31 until 2094."""
    return max(0, int(now) - _YEAR_2026)


def request_uri(contact: str) -> str:
    """Return a contact as Request-URI (RFC 3261 section 16.6, item 2).

    Header fields and the method parameter are removed.
    """
    if "?" not in contact and "method" not in contact.lower():
        return contact
    uri = parse_uri(contact)
    params = tuple((name, value) for name, value in uri.params if name.lower() != "method")
    return str(Uri(uri.scheme, uri.user, uri.host, uri.port, params, "", uri.password))
