"""Server of MESSAGE (RFC 3428): to a number as an SMS, to another account unchanged.

The sender's identity must be the authenticated account, never a header's and never a CPIM wrapper's.
"""

from __future__ import annotations

from collections import Counter
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from typing import NamedTuple

from sipsms.accounts.directory import Directory
from sipsms.core import log
from sipsms.core.account import Account
from sipsms.core.clock import Clock
from sipsms.core.e164 import is_ten_digits
from sipsms.core.errors import Unavailable
from sipsms.core.flow_address import FlowAddress
from sipsms.core.refusal import Refusal, RefusalCode
from sipsms.core.registration import Binding
from sipsms.core.report_request import ImdnRequest
from sipsms.messaging.location import Location
from sipsms.messaging.order import Order
from sipsms.messaging.outbound import Outbound
from sipsms.messaging.router import Router
from sipsms.routing.dialplan import Internal
from sipsms.sip import body_reader, proxy
from sipsms.sip.digest import Credentials, issued_at
from sipsms.sip.endpoint import Answer
from sipsms.sip.flow_token import unseal
from sipsms.sip.message import Request
from sipsms.sip.proxy_server import ProxyServer
from sipsms.sip.registrar import gruu_of
from sipsms.sip.rules import RETRY_AFTER, SipRules
from sipsms.sip.transport import Flow
from sipsms.sip.uri import ParseError, Uri

MAX_UNDER_WAY = 20  # relayed messages of one account at once: each waits for its phone's response
MAX_INTERNAL = 10_000  # characters of a message between accounts, which has no SMS length limit

# Decision D8. A code that is not here is 403.
_STATUS = {
    RefusalCode.EMPTY: 400,
    RefusalCode.TEXT: 400,
    RefusalCode.TOO_LONG: 413,
    RefusalCode.TOO_FEW_DIGITS: 484,
    RefusalCode.TOO_MANY_DIGITS: 404,
    RefusalCode.NOT_DIGITS: 404,
    RefusalCode.LEADING_ONE: 404,
    RefusalCode.INVALID: 404,
    RefusalCode.NO_ROUTE: 480,
    RefusalCode.BULK: 480,
}
_AUDITED = frozenset((RefusalCode.SERVICE, RefusalCode.PREMIUM, RefusalCode.REGION))


class _Refused(Exception):
    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class _Target(NamedTuple):
    """Destination of a request.

    A number; or an account, with the device that its GRUU names or the bindings on the flow that its Route names.
    """

    number: str = ""
    account: str = ""
    instance: str = ""
    bindings: tuple[Binding, ...] | None = None


class MessageServer:
    def __init__(
        self, rules: SipRules, directory: Directory, location: Location, router: Router, outbound: Outbound,
        relay: ProxyServer, clock: Clock, flow_key: bytes,
    ) -> None:  # fmt: skip
        self.rules = rules
        self._directory = directory
        self._location = location
        self._router = router
        self._outbound = outbound
        self._relay = relay
        self._clock = clock
        self._flow_key = flow_key
        self._under_way: Counter[str] = Counter()  # account -> messages being relayed

    async def handle(self, request: Request, flow: Flow, account: Account, credentials: Credentials) -> Answer | None:
        """Handle a MESSAGE of an authenticated account; None if a relayed MESSAGE got no response."""
        try:
            target = self._target(request, account)
            if target.bindings is not None or (target.account and self._internal is Internal.RELAY):
                return await self._pass_on(request, flow, account, target)
            return await self._take(request, flow, account, credentials, target)
        except _Refused as refused:
            if refused.answer.status >= 300:
                log.refused("sip", refused.answer.status, account.name, _warning(refused.answer))
            return refused.answer

    @property
    def _internal(self) -> Internal:
        return self._router.dialplan.internal

    def _refuse(self, status: int, why: str, *headers: tuple[str, str]) -> _Refused:
        return _Refused(self.rules.refusal(status, why, *headers))

    # --- where to ---

    def _target(self, request: Request, account: Account) -> _Target:
        """Return the destination, checked in the order of decision D2: ownership, then destination.

        Raises _Refused.
        """
        assert request.to is not None
        assert request.target is not None
        if request.to.tag:
            raise self._refuse(481, "there are no dialogs here: send without To tag")
        by_route = self._by_route(request)
        if not self.rules.is_ours(request.target) and by_route is None:
            raise self._refuse(403, f"{request.target.host[:80]} is not a domain of this server")
        self._check_from(request, account)
        if by_route is not None:
            return by_route
        user = request.target.username
        number = self._router.dialplan.numbering.check(user)
        if not isinstance(number, Refusal):
            return _Target(number=number)
        known = self._directory.account(user)
        if known is None or not known.enabled or self._internal is Internal.OFF or is_ten_digits(user):
            raise self._refuse_order(number, account, user)
        if request.target.param("gr") is not None:
            return self._device_of(known.name, request.target.param("gr") or "")
        return _Target(account=known.name)

    def _by_route(self, request: Request) -> _Target | None:
        """Remove our Routes; return the phone of its flow token (RFC 5626 section 5.3), or None.

        Raises _Refused.
        """
        if "route" not in request.headers:
            return None
        try:
            token, others = proxy.own_routes(request, self.rules.is_ours)
        except ParseError as error:
            raise self._refuse(400, str(error)) from None
        if others:
            raise _Refused(self.rules.elsewhere())
        if not token:
            return None
        if self._internal is Internal.OFF:
            raise self._refuse(403, "messages between accounts are off here")
        name = unseal(token, self._flow_key)
        if name is None:
            raise self._refuse(403, "this flow token is not ours")
        if self._relay.flow_of(name) is None:
            raise self._refuse(430, "the flow is gone")
        found = tuple(
            one for one in self._location.on_flow(name.received, name.local, name.number, self._clock())
            if request.target is not None and _is_for(request.target, one) and self._is_enabled(one.aor)
        )  # fmt: skip
        if not found:
            raise self._refuse(430, "no phone is registered by this flow")
        return _Target(account=found[0].aor, bindings=found)

    def _is_enabled(self, name: str) -> bool:
        account = self._directory.account(name)
        return account is not None and account.enabled

    def _device_of(self, account: str, gr: str) -> _Target:
        """Return one device of an account by its GRUU (RFC 5627 section 5.5). Raises _Refused."""
        bindings = self._location.bindings(account, self._clock())
        if not any(gruu_of(one.instance) == gr for one in bindings if one.instance):
            raise self._refuse(480, "this device is not registered now")
        return _Target(account=account, instance=gr)

    def _check_from(self, request: Request, account: Account) -> None:
        assert request.from_ is not None
        try:
            user = request.from_.parsed().username
        except ParseError as error:
            raise self._refuse(400, str(error)) from None
        if user != account.name and not self._number(user):
            raise self._refuse(403, "From must be the account or one of its numbers")

    def _refuse_order(self, refusal: Refusal, account: Account, destination: str) -> _Refused:
        if refusal.code in _AUDITED:
            log.audit("sip", account.name, destination[:32], refusal.reason)
        return self._refuse(_STATUS.get(refusal.code, 403), refusal.reason)

    # --- stored and delivered ---

    async def _take(
        self, request: Request, flow: Flow, account: Account, credentials: Credentials, target: _Target
    ) -> Answer:
        source = self._caller_id(request, account) if target.number else account.name
        found = self._content(request, account, source)
        limits = self.rules.messages
        most, unit = (limits.max_length, limits.length_unit) if target.number else (MAX_INTERNAL, "characters")
        order = Order(
            account, source, target.number, found.text, "sip", max_text=most, unit=unit,
            dedupe_key=retransmission_key(request, account, credentials), expires_at=self._expires_at(request),
            to_account=target.account, device=self._device(flow, account), instance=target.instance,
            report=ImdnRequest(found.notify) if found.notify else None,
        )  # fmt: skip
        try:
            sent = await self._outbound.send(order)
        except Unavailable:
            return self.rules.unavailable()
        if isinstance(sent, Refusal):
            raise self._refuse_order(sent, account, target.number)
        return Answer(202)

    def _caller_id(self, request: Request, account: Account) -> str:
        """Return the caller ID that the request states (D8): a ten-digit display name or From user; else empty.

        An account whose name is a number, and that answers by the thread, does not state that number by its name.
        """
        assert request.from_ is not None
        user = request.from_.parsed().username
        by_name = account.reply_from_thread and user == account.name
        return self._number(request.from_.display) or ("" if by_name else self._number(user))

    def _number(self, stated: str) -> str:
        """Return a number of the sender as the dialplan lets it be written, as ten digits; empty if it is none."""
        return self._router.dialplan.numbering.sender(stated)

    def _content(self, request: Request, account: Account, source: str) -> body_reader.Text:
        found = body_reader.read(request)
        match found:
            case body_reader.Notice():
                raise _Refused(Answer(200))
            case body_reader.Refused(status, why, header):
                raise self._refuse(status, why, *([header] if header else []))
        own = (account.name, source or account.caller_id)
        if found.author and not {found.author, self._number(found.author)} & set(own):
            raise self._refuse(403, "the From inside the CPIM wrapper is not the sender's")
        return found

    def _device(self, flow: Flow, account: Account) -> int:
        """Return the account's device that is registered on this flow; 0 if unknown."""
        received = FlowAddress.of(flow.name, flow.remote)
        for binding in self._location.bindings(account.name, self._clock()):
            if binding.received == received and binding.flow == flow.number:
                return binding.device
        return 0

    def _expires_at(self, request: Request) -> float | None:
        """Return the expiry time (RFC 3428 section 4), or None.

        Expires counts from Date if Date is within 5 minutes of now, else from now. Expires 0 means no limit.
        """
        text = request.get("expires")
        if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) == 0:
            return None
        now = start = self._clock()
        try:
            sent = parsedate_to_datetime(request.get("date")).timestamp() if request.get("date") else now
        except (ValueError, TypeError, OverflowError):
            sent = now
        if abs(sent - now) <= 300:
            start = sent
        return start + int(text)

    # --- passed on ---

    async def _pass_on(self, request: Request, flow: Flow, account: Account, target: _Target) -> Answer | None:
        """Relay to the phones registered now, but never back to the sending phone.

        Returns None if no phone answered. Raises _Refused.
        """
        assert request.from_ is not None
        who = request.from_.parsed()
        if who.username != account.name or not self.rules.is_ours(who):
            raise self._refuse(403, "From must be the account, at this domain: the other side sees it")
        authors = body_reader.authors(request)
        if isinstance(authors, body_reader.Refused):
            raise self._refuse(authors.status, authors.why, *([authors.header] if authors.header else []))
        if any(one.username != account.name or not self.rules.is_ours(one) for one in authors):
            raise self._refuse(403, "the From inside the CPIM wrapper is not the sender's")
        if self._relay.has_looped(request):
            raise self._refuse(482, "this request has been here before")
        found = target.bindings
        if found is None:
            found = tuple(self._location.bindings(target.account, self._clock()))
        if target.instance:
            found = tuple(one for one in found if gruu_of(one.instance) == target.instance)
        here = FlowAddress.of(flow.name, flow.remote)
        found = tuple(one for one in found if (one.received, one.flow) != (here, flow.number))
        if not found:
            raise self._refuse(480, f"{target.account} is not registered now")
        if self._under_way[account.name] >= MAX_UNDER_WAY:
            raise self._refuse(480, "too many of your messages are under way", ("Retry-After", RETRY_AFTER))
        self._under_way[account.name] += 1
        try:
            answer = await self._relay.pass_on(request, flow, found)
        finally:
            self._under_way[account.name] -= 1
            if not self._under_way[account.name]:
                del self._under_way[account.name]
        if answer is not None:
            log.relayed(account.name, target.account, answer.status, len(found))
        return answer


def _is_for(target: Uri, binding: Binding) -> bool:
    """Return True if the Request-URI with a flow token names the binding's contact or its account."""
    return str(target) == binding.contact or target.username == binding.aor


def _warning(answer: Answer) -> str:
    return next((value for name, value in answer.headers if name == "Warning"), "")


def retransmission_key(request: Request, account: Account, credentials: Credentials) -> bytes:
    """Return 16 bytes that are the same for each copy of one request (decision D7).

    The key begins with the time the nonce was issued, so that keys of one moment are neighbours in the store's index. A
    sipsms that uses us as its carrier names the message itself, with the same X-SMS-ID in each attempt; X-SMS-ID begins
    with a time as well.
    """
    named = request.get("x-sms-id")
    if issued_at(named):
        what = f"{account.name}\n{named}\n".encode() + request.body
        return issued_at(named).to_bytes(6, "big") + blake2b(what, digest_size=10).digest()
    tag = request.from_.tag if request.from_ else ""
    branch = request.via.branch if request.via else ""
    text = "\n".join((account.name, request.call_id, str(request.cseq), tag, branch))
    digest = blake2b(text.encode("utf-8", "surrogateescape"), digest_size=10).digest()
    return issued_at(credentials.nonce).to_bytes(6, "big") + digest
