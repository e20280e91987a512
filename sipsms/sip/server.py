"""SIP server: REGISTER, MESSAGE, OPTIONS, SUBSCRIBE and PUBLISH from phones and PBXes.

`admit` runs the checks of decision D2 in order up to the credentials, without state. Only authenticated requests are
given to `_register`, `_presence` or the message server. The sender's identity must be the authenticated account, never
a header's.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from email.utils import formatdate
from functools import partial
from typing import Any, Protocol

from sipsms.accounts.directory import Directory
from sipsms.core import log
from sipsms.core.account import Account
from sipsms.core.clock import Clock
from sipsms.core.errors import Unavailable
from sipsms.core.flow_address import FlowAddress
from sipsms.core.network import network_of
from sipsms.core.registration import Device
from sipsms.messaging.device_queue import DeviceQueue
from sipsms.messaging.location import Location
from sipsms.sip import body_reader, pidf, presence, proxy, registrar
from sipsms.sip.auth_limiter import AuthLimiter
from sipsms.sip.digest import Authenticator, Checked, Credentials, Verdict
from sipsms.sip.endpoint import Answer, Work
from sipsms.sip.flood_limiter import FloodLimiter, is_scanner
from sipsms.sip.flow_token import FlowName, seal
from sipsms.sip.message import KNOWN_METHODS, Request
from sipsms.sip.message_server import MessageServer, retransmission_key
from sipsms.sip.presence_server import PresenceServer
from sipsms.sip.rules import RETRY_AFTER, SipRules
from sipsms.sip.transport import Flow, StreamConnection
from sipsms.sip.uri import ParseError
from sipsms.store.store import Store

ALLOW = "REGISTER, MESSAGE, OPTIONS, SUBSCRIBE, PUBLISH"
_HANDLED = frozenset(("REGISTER", "MESSAGE", "OPTIONS", "SUBSCRIBE", "PUBLISH"))
_ANY_DOMAIN = frozenset(("MESSAGE", "SUBSCRIBE", "PUBLISH"))  # methods whose domain is checked after the credentials
_SUPPORTED = ("path", "outbound", "gruu")


class TrunkRequests(Protocol):
    """Interface of a trunk that takes requests from its server."""

    def admit(self, request: Request, flow: Flow) -> Answer | Work | None:
        """Handle a request without credentials from a server that we are registered at.

        Returns None if it is no MESSAGE.
        """


class Server:
    def __init__(
        self,
        rules: SipRules,
        authenticator: Authenticator,
        directory: Directory,
        location: Location,
        store: Store,
        devices: DeviceQueue,
        messages: MessageServer,
        notifier: PresenceServer,
        clock: Clock,
        spawn: Callable[[Coroutine[Any, Any, Any]], None],
        flow_key: bytes,
    ) -> None:
        """`spawn` runs a coroutine beside the request that caused it. `flow_key` seals flow tokens."""
        self._rules = rules
        self._authenticator = authenticator
        self._directory = directory
        self._location = location
        self._store = store
        self._devices = devices
        self._messages = messages
        self._notifier = notifier
        self._clock = clock
        self._guard = AuthLimiter()
        self._stale_guard = AuthLimiter()  # wrong answers to nonces that are not valid: they prove no source address
        self._flood = FloodLimiter(rules.sip.flood_limit, trust=rules.sip.max_expires)
        self._spawn = spawn
        self._flow_key = flow_key
        self.trunks: Mapping[str, TrunkRequests] = {}  # by the user part of the trunk's Contact

    @property
    def rules(self) -> SipRules:
        return self._rules

    @rules.setter
    def rules(self, rules: SipRules) -> None:
        self._rules = self._messages.rules = rules
        self._flood.limit = rules.sip.flood_limit

    # --- stateless part ---

    def admit(self, request: Request, flow: Flow) -> Answer | Work | None:
        """Return an answer, the work for a transaction, or None to drop the request."""
        if self._is_scanner(request):
            return None
        return self._admit(request, flow)

    def malformed(self, request: Request, flow: Flow, status: int, why: str) -> Answer | None:
        """Return the refusal of an unreadable request, or None to drop the request."""
        return None if self._is_scanner(request) else self.refusal(status, why)

    def ignores(self, data: bytes, flow: Flow) -> bool:
        """Return True for a datagram that need not be parsed: no credentials, and its sender is muted."""
        muted = self._flood.is_muted(*flow.remote, self._clock())
        return muted and b"authorization" not in data.lower() and data[:4] != b"SIP/"

    def tolerates(self, connection: StreamConnection) -> bool:
        """Count what a connection without the right password sends; False if it floods."""
        return self._counted(connection, self._flood.tolerates, connection.visit)

    def trust(self, address: str) -> None:
        """Exempt the address of a registered phone from muting."""
        self._flood.knows_password(address, self._clock())

    def _is_scanner(self, request: Request) -> bool:
        return self.rules.sip.scanners == "drop" and is_scanner(request.get("user-agent"))

    def counts(self, flow: Flow) -> bool:
        """Count an answer without right credentials; False if its receiver floods.

        The messages of connections were counted before.
        """
        return flow.reliable or self._counted(flow, self._flood.allows)

    def affords(self, flow: Flow, size: int) -> bool:
        """Return True if an answer of this size to a stranger does not make us an amplifier: no connection does."""
        return flow.reliable or self._flood.affords(flow.remote[0], self._clock(), flow.size, size)

    def _counted(self, flow: Flow, count: Callable[..., bool], *more: Any) -> bool:
        """Count something of a stranger; log if its address is muted for it."""
        now = self._clock()
        muted = self._flood.is_muted(*flow.remote, now)
        is_allowed = count(*flow.remote, now, *more)
        if not is_allowed and not muted and self._flood.is_muted(*flow.remote, now):
            log.flood_muted(flow.remote[0])
        return is_allowed

    def _admit(self, request: Request, flow: Flow) -> Answer | Work:
        refused = self._precheck(request)
        if refused is not None:
            return refused
        if request.method == "OPTIONS":
            return self._routed_elsewhere(request) or self._options()
        assert request.target is not None
        trunk = self.trunks.get(request.target.user)
        if trunk is not None and (work := trunk.admit(request, flow)) is not None:
            return work
        try:
            credentials = self._credentials(request)
        except ParseError as error:
            return self.refusal(400, str(error))
        if credentials is None:
            return self._challenge(request, flow)
        return self._authenticated(request, flow, credentials)

    def refusal(self, status: int, why: str, *headers: tuple[str, str]) -> Answer:
        return self.rules.refusal(status, why, *headers)

    def _precheck(self, request: Request) -> Answer | None:
        """Check a request as in decision D2, from the scheme to the method, and a REGISTER's domain."""
        if request.target is None:
            return self.refusal(416, "only sip: and sips: URIs are served here")
        if request.get("max-forwards") and int(request.get("max-forwards")) == 0 and request.method != "OPTIONS":
            return self.refusal(483, "Max-Forwards is used up")
        extensions = self._extensions(request)
        if extensions is not None:
            return extensions
        if request.method == "NOTIFY":  # RFC 6665 section 4.1.3: we have subscribed to nothing
            return self.refusal(481, "this server has no subscriptions elsewhere")
        if request.method not in _HANDLED:
            if request.method in KNOWN_METHODS:
                return self.refusal(405, f"{request.method} is not served here", ("Allow", ALLOW))
            return self.refusal(501, "unknown method", ("Allow", ALLOW))
        if request.method in _ANY_DOMAIN:
            return None  # credentials first: a stranger must not learn our domains
        if not self.rules.is_ours(request.target):
            status = 403 if request.method == "REGISTER" else 404
            return self.refusal(status, f"{request.target.host[:80]} is not a domain of this server")
        if request.method == "REGISTER" and not request.to_is_sip:
            return self.refusal(400, "To must be a sip: address of record")
        return None

    def _extensions(self, request: Request) -> Answer | None:
        headers = request.headers
        if "require" not in headers and "proxy-require" not in headers:
            return None
        try:
            wanted = request.listed("proxy-require") + request.listed("require")
        except ParseError as error:
            return self.refusal(400, str(error))
        unknown = [token for token in wanted if token.lower() not in _SUPPORTED]
        return Answer(420, (("Unsupported", ", ".join(unknown)),)) if unknown else None

    def _options(self) -> Answer:
        return Answer(
            200,
            (
                ("Allow", ALLOW),
                ("Allow-Events", presence.EVENT),
                ("Accept", f"{body_reader.ACCEPT}, {pidf.TYPE}"),
                ("Accept-Encoding", "deflate, identity"),
                ("Accept-Language", "en"),
                ("Supported", ", ".join(_SUPPORTED)),
            ),
        )

    # --- credentials ---

    def _credentials(self, request: Request) -> Credentials | None:
        headers = request.headers
        values = [*headers.get("authorization", ()), *headers.get("proxy-authorization", ())]
        return self._authenticator.find(values) if values else None

    def _challenge(self, request: Request, flow: Flow, *, stale: bool = False, last: bool = False) -> Answer:
        status, header = (401, "WWW-Authenticate") if request.method == "REGISTER" else (407, "Proxy-Authenticate")
        values = self._authenticator.challenges(self._clock(), network_of(flow.remote[0]), stale=stale, last=last)
        return Answer(status, [(header, value) for value in values])

    def _authenticated(self, request: Request, flow: Flow, credentials: Credentials) -> Answer | Work:
        now, (source, port), user = self._clock(), flow.remote, credentials.username
        if credentials.nonce and not self._guard.allows(source, user, now, port, credentials.nonce):
            return self._wrong(flow, user, "too many failures")
        account = self._directory.account(user)
        checked = self._authenticator.check(
            credentials, account, request.method, request.uri, now, network_of(source)
        )  # fmt: skip
        if checked.account is not None:  # the password is right, the nonce may be stale
            self._flood.knows_password(source, now)
            flow.authenticated()
        match checked.verdict:
            case Verdict.OK:
                self._guard.succeeded(source, user, port)
                return self._work(request, flow, checked)
            case Verdict.STALE if request.method == "MESSAGE":
                return self._again(request, flow, checked)
            case Verdict.WRONG:
                is_over = self._guard.failed(source, user, now, port, credentials.nonce)
                return self._wrong(flow, user, "too many failures" if is_over else "wrong credentials")
            case Verdict.MALFORMED:
                return self.refusal(400, checked.why)
            case Verdict.NONE:  # too many guesses hear the same as the right password, so that they learn nothing
                is_over = self._stale_guard.failed(source, user, now, port)
                return self._challenge(request, flow, stale=is_over)
        verdict = checked.verdict
        return self._challenge(request, flow, stale=verdict is Verdict.STALE, last=verdict is Verdict.AGAIN)

    def _wrong(self, flow: Flow, user: str, reason: str) -> Answer:
        """Return the same answer for unknown user, wrong password and disabled account (decision D4)."""
        log.auth_failure("sip", user, flow.remote[0], flow.remote[1], reason)
        return self.refusal(403, "wrong user name or password")

    def _work(self, request: Request, flow: Flow, checked: Checked) -> Answer | Work:
        assert checked.account is not None
        request.user = checked.account.name
        assert checked.credentials is not None
        if request.method == "MESSAGE":
            return self._messages.handle(request, flow, checked.account, checked.credentials)
        if refused := self._routed_elsewhere(request):
            return refused
        if request.method == "REGISTER":
            return self._register(request, flow, checked.account)
        return self._presence(request, flow, checked.account)

    def _routed_elsewhere(self, request: Request) -> Answer | None:
        """Return the refusal of a request with a Route of another server (RFC 3261 section 16.4).

        A MESSAGE may be for a flow that our Route names, so the message server reads its Routes.
        """
        if "route" not in request.headers:
            return None
        try:
            _, others = proxy.own_routes(request, self.rules.is_ours)
        except ParseError as error:
            return self.refusal(400, str(error))
        return self.rules.elsewhere() if others else None

    async def _again(self, request: Request, flow: Flow, checked: Checked) -> Answer | None:
        """Answer the right password with a used nonce: 202 for a retransmission, else a challenge."""
        assert checked.account is not None
        assert checked.credentials is not None
        try:
            key = retransmission_key(request, checked.account, checked.credentials)
            known = await self._store.find_duplicate(key)
        except Unavailable:
            return None  # the message may be stored, so a refusal could be false; the phone sends again
        return Answer(202) if known is not None else self._challenge(request, flow, stale=True)

    # --- REGISTER (RFC 3261 section 10.3; steps 1 to 3 are done) ---

    async def _register(self, request: Request, flow: Flow, account: Account) -> Answer:
        refused = self._own_aor(request, account)
        if refused is not None:
            return refused
        aor, now = account.name, self._clock()
        received = FlowAddress.of(flow.name, flow.remote)
        arrival = registrar.Arrival(received, flow.local, flow.number)
        reached: list[Device] = []
        try:
            async with self._location.turn(aor):
                current = self._location.bindings(aor, now)
                result = registrar.register(request, aor, current, now, self.rules.sip, arrival)
                if result.updated or result.removed:
                    reached = await self._location.apply(aor, result.updated, result.removed, now)
        except Unavailable:  # RFC 3261 section 10.3, step 7: 500
            return self.refusal(500, "the store cannot write now", ("Retry-After", RETRY_AFTER))
        log.registered(aor, result.status, len(result.bindings), received)
        if result.status != 200:
            if result.status == 420:
                return Answer(420, result.headers)
            return self.refusal(result.status, result.why, *result.headers)
        after = partial(self._reached, reached) if reached else None
        return Answer(200, [*self._registered(request, result, now), *self._own_path(request, flow, result)], after)

    def _own_aor(self, request: Request, account: Account) -> Answer | None:
        """Refuse a REGISTER for another AOR than the account's own (steps 4 and 5)."""
        assert request.to is not None
        try:
            uri = request.to.parsed()
        except ParseError as error:
            return self.refusal(400, str(error))
        if not self.rules.is_ours(uri):
            return self.refusal(404, f"{uri.host[:80]} is not a domain of this server")
        if uri.username == account.name:
            return None
        if self._directory.account(uri.username) is None:
            return self.refusal(404, "To is no account of this server")
        return self.refusal(403, "an account registers only itself: To must be the digest user name")

    def _registered(self, request: Request, result: registrar.Result, now: float) -> list[tuple[str, str]]:
        gruu = self.rules.domain if "gruu" in _tokens(request, "supported") else ""
        headers = [("Contact", registrar.contact_value(binding, now, gruu)) for binding in result.bindings]
        if result.outbound:  # only this makes a phone keep its flow alive (RFC 5626 sections 4.4 and 6)
            headers += [("Require", "outbound"), ("Flow-Timer", str(registrar.FLOW_TIMER))]
        headers += [("Path", value) for value in request.headers.get("path", ())]
        return [*headers, ("Date", formatdate(now, usegmt=True)), ("Supported", ", ".join(_SUPPORTED))]

    def _own_path(self, request: Request, flow: Flow, result: registrar.Result) -> list[tuple[str, str]]:
        """Return our Path with the flow's token, as a phone's edge proxy (RFC 5626 section 5.1).

        Others can reach the phone by this flow with a Route. There is no Path for UDP or for a phone behind another
        proxy.
        """
        if not result.outbound or not flow.reliable or "path" in request.headers:
            return []
        token = seal(FlowName(result.updated[0].received, flow.local, flow.number), self._flow_key)
        kind = "ws" if flow.name == "wss" else flow.name
        return [("Path", f"<sip:{token}@{flow.sent_by()};transport={kind};lr;ob>")]

    def _reached(self, reached: list[Device]) -> None:
        for device in reached:
            self._spawn(self._devices.reachable(device))

    # --- SUBSCRIBE and PUBLISH (RFC 6665, RFC 3856, RFC 3903) ---

    async def _presence(self, request: Request, flow: Flow, account: Account) -> Answer:
        assert request.target is not None
        if not self.rules.is_ours(request.target):
            return self.refusal(403, f"{request.target.host[:80]} is not a domain of this server")
        if request.method == "PUBLISH":
            reply = self._notifier.publish(request, account)
        else:
            reply = self._notifier.subscribe(request, flow, account)
        if reply.status >= 300:
            return self.refusal(reply.status, reply.why, *reply.headers)
        return Answer(reply.status, reply.headers, reply.after, reply.tag)


def _tokens(request: Request, header: str) -> list[str]:
    try:
        return [token.lower() for token in request.listed(header)]
    except ParseError:
        return []
