"""The SIP door out: one MESSAGE to one device (RFC 3428; what phones need is in docs/clients).

Request-URI is the registered contact, To the AOR as the phone wrote it, From the sender's number at the host the phone
registered with (so that its reply comes back here). Call-ID and From tag belong to the delivery, so that a phone which
has the message already drops the copy; CSeq counts the attempts.
"""

from __future__ import annotations

from email.utils import formatdate
from urllib.parse import quote

from sipsms.model import Binding, Deferred, Delivered, Delivery, Outcome, Rejected
from sipsms.ports import Clock, Location
from sipsms.sip.endpoint import Endpoint, NoResponse
from sipsms.sip.message import Request, Response
from sipsms.sip.transport import Flow, hostport
from sipsms.sip.uri import ParseError, Uri, parse_uri

_USER_SAFE = "-_.!~*'()&=+$,;?/"
_LATER = frozenset((408, 413, 480, 481, 482, 486, 487, 491))  # the phone is there, and may take it another time


class SipCourier:
    def __init__(
        self, endpoint: Endpoint, location: Location, domain: str, clock: Clock, max_datagram: int = 1300
    ) -> None:
        """`max_datagram`: larger requests prefer a stream (RFC 3261 section 18.1.1)."""
        self._endpoint = endpoint
        self._location = location
        self._clock = clock
        self._max_datagram = max_datagram
        self.domain = domain

    async def deliver(self, delivery: Delivery) -> Outcome:
        binding = self._location.binding_of(delivery.device, self._clock())
        if binding is None:
            return Deferred("not registered", parked=True)
        request = self._request(delivery, binding)
        flow = self._flow(binding, len(request.to_bytes()))
        if flow is None:
            return Deferred("its connection is closed", parked=True)
        try:
            response = await self._endpoint.request(request, flow)
        except NoResponse as error:
            return Deferred(str(error))
        return await self._outcome(response, binding)

    def _flow(self, binding: Binding, size: int) -> Flow | None:
        """The way the phone registered by; another, a stream, if the message is too large for a datagram."""
        flow = self._endpoint.flow(binding.received, binding.local, binding.flow)
        if flow is None or flow.reliable or size <= self._max_datagram:
            return flow
        for other in self._location.bindings(binding.aor, self._clock()):
            if other.device == binding.device and other.flow:
                stream = self._endpoint.flow(other.received, other.local, other.flow)
                if stream is not None:
                    return stream
        return flow

    def _request(self, delivery: Delivery, binding: Binding) -> Request:
        message = delivery.message
        aor, at = self._aor(binding)
        headers = {
            "route": list(binding.path),
            "max-forwards": ["70"],
            "from": [f"<sip:{quote(delivery.source, safe=_USER_SAFE)}@{at}>;tag=d{delivery.id:x}"],
            "to": [f"<{aor}>"],
            "call-id": [f"{delivery.id:x}.{int(delivery.created_at * 1000):x}@{self.domain}"],
            "cseq": [f"{delivery.attempts} MESSAGE"],
            "date": [formatdate(message.received_at, usegmt=True)],
            "x-sms-to": [message.destination],
            "content-type": ["text/plain;charset=UTF-8"],
        }
        return Request("MESSAGE", request_uri(binding.contact), headers, message.text.encode("utf-8", "replace"))

    def _aor(self, binding: Binding) -> tuple[str, str]:
        """(To, host for From): as the phone wrote them when it registered."""
        try:
            uri = parse_uri(binding.to_uri)
        except ParseError:
            return f"sip:{binding.aor}@{self.domain}", self.domain
        host = hostport(uri.host, uri.port) if uri.port else uri.host
        return str(Uri(uri.scheme, uri.user, uri.host, uri.port)), host

    async def _outcome(self, response: Response, binding: Binding) -> Outcome:
        status, reason = response.status, f"{response.status} {response.reason}"[:120]
        if status < 300:
            return Delivered(reason)
        if status in (404, 410):
            await self._location.drop(binding)
            return Deferred(reason, parked=True)
        if status in _LATER or status // 100 in (3, 5):
            return Deferred(reason)
        if status == 415 or status >= 600:
            return Rejected(response.reason[:120], str(status))
        return Deferred(reason, parked=True)  # it will not get better before the phone registers anew


def request_uri(contact: str) -> str:
    """A contact as Request-URI: without header fields and method parameter (RFC 3261 section 16.6, item 2)."""
    if "?" not in contact and "method" not in contact.lower():
        return contact
    uri = parse_uri(contact)
    params = tuple((name, value) for name, value in uri.params if name.lower() != "method")
    return str(Uri(uri.scheme, uri.user, uri.host, uri.port, params, "", uri.password))
