"""The SIP door in: REGISTER, MESSAGE, OPTIONS, SUBSCRIBE and PUBLISH from phones and PBXes.

`admit` runs the checks of decision D2 in order up to the credentials, and keeps nothing; `_register` and `_message` are
what happens for somebody whose password was right. Identity is always the credentials', never a header's.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from email.utils import formatdate, parsedate_to_datetime
from functools import partial
from hashlib import blake2b
from typing import Any

from sipsms import log
from sipsms.dialplan import Refusal, RefusalCode
from sipsms.directory import Directory
from sipsms.gateway import Gateway
from sipsms.model import Account, Device
from sipsms.numbers import is_ten_digits
from sipsms.ports import Clock, Location, Unavailable
from sipsms.sip import content, pidf, presence, registrar
from sipsms.sip.digest import Authenticator, Checked, Credentials, Verdict, issued_at
from sipsms.sip.endpoint import Answer, Work
from sipsms.sip.guard import Guard
from sipsms.sip.headers import NameAddr
from sipsms.sip.message import KNOWN_METHODS, Request
from sipsms.sip.notifier import Notifier
from sipsms.sip.transport import Flow, is_local_address
from sipsms.sip.uri import ParseError, Uri
from sipsms.text import length

ALLOW = "REGISTER, MESSAGE, OPTIONS, SUBSCRIBE, PUBLISH"
_HANDLED = frozenset(("REGISTER", "MESSAGE", "OPTIONS", "SUBSCRIBE", "PUBLISH"))
_ANY_DOMAIN = frozenset(("MESSAGE", "SUBSCRIBE", "PUBLISH"))  # looked at after the credentials
_SUPPORTED = ("path", "outbound", "gruu")
_RETRY_AFTER = "5"

# Decision D8. A code that is not here is 403.
_STATUS = {
    RefusalCode.TOO_SHORT: 484,
    RefusalCode.TOO_LONG: 404,
    RefusalCode.NOT_DIGITS: 404,
    RefusalCode.LEADING_ONE: 404,
    RefusalCode.INVALID: 404,
    RefusalCode.NO_ROUTE: 480,
}
_AUDITED = frozenset((RefusalCode.SERVICE, RefusalCode.PREMIUM, RefusalCode.REGION))


class Rules:
    """What the configuration says about SIP. Replaced as a whole on reload."""

    def __init__(
        self, domain: str, aliases: list[str], policy: registrar.Policy, max_length: int, length_unit: str
    ) -> None:
        self.domain = domain.lower()
        self.domains = frozenset((self.domain, "localhost", *(alias.lower() for alias in aliases)))
        self.policy = policy
        self.max_length = max_length
        self.length_unit = length_unit

    def is_ours(self, uri: Uri) -> bool:
        """One of our domains, or an address of this machine: phones are often given that."""
        return uri.host in self.domains or is_local_address(uri.host)


class Server:
    def __init__(
        self,
        rules: Rules,
        authenticator: Authenticator,
        directory: Directory,
        location: Location,
        gateway: Gateway,
        notifier: Notifier,
        clock: Clock,
        spawn: Callable[[Coroutine[Any, Any, Any]], None],
    ) -> None:
        """`spawn` runs a coroutine beside the request that caused it."""
        self.rules = rules
        self._authenticator = authenticator
        self._directory = directory
        self._location = location
        self._gateway = gateway
        self._notifier = notifier
        self._clock = clock
        self._guard = Guard()
        self._spawn = spawn

    # --- stateless part ---

    def admit(self, request: Request, flow: Flow) -> Answer | Work:
        refused = self._precheck(request)
        if refused is not None:
            return refused
        if request.method == "OPTIONS":
            return self._options()
        try:
            credentials = self._credentials(request)
        except ParseError as error:
            return self.refusal(400, str(error))
        if credentials is None:
            return self._challenge(request)
        return self._authenticated(request, flow, credentials)

    def refusal(self, status: int, why: str, *headers: tuple[str, str]) -> Answer:
        """A refusal that says the rule in words (Warning 399)."""
        text = why.encode("ascii", "replace").decode().replace("\\", "/").replace('"', "'")
        return Answer(status, (*headers, ("Warning", f'399 {self.rules.domain} "{text[:200]}"')))

    def _precheck(self, request: Request) -> Answer | None:
        """Decision D2, from the scheme to the method; and the domain of a REGISTER."""
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
            return None  # a stranger does not learn which domains are ours: credentials first
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
                ("Accept", f"{content.ACCEPT}, {pidf.TYPE}"),
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

    def _challenge(self, request: Request, *, stale: bool = False, last: bool = False) -> Answer:
        status, header = (401, "WWW-Authenticate") if request.method == "REGISTER" else (407, "Proxy-Authenticate")
        values = self._authenticator.challenges(self._clock(), stale=stale, last=last)
        return Answer(status, [(header, value) for value in values])

    def _authenticated(self, request: Request, flow: Flow, credentials: Credentials) -> Answer | Work:
        now, source = self._clock(), flow.remote[0]
        if not self._guard.allows(source, credentials.username, now):
            return self._wrong(request, flow, credentials, "too many failures")
        account = self._directory.account(credentials.username)
        checked = self._authenticator.check(credentials, account, request.method, request.uri, now)
        match checked.verdict:
            case Verdict.OK:
                self._guard.succeeded(source, credentials.username)
                return self._work(request, flow, checked)
            case Verdict.STALE if request.method == "MESSAGE":
                return self._again(request, checked)
            case Verdict.WRONG:
                self._guard.failed(source, credentials.username, now)
                return self._wrong(request, flow, credentials, "wrong credentials")
            case Verdict.MALFORMED:
                return self.refusal(400, checked.why)
        verdict = checked.verdict
        return self._challenge(request, stale=verdict is Verdict.STALE, last=verdict is Verdict.AGAIN)

    def _wrong(self, request: Request, flow: Flow, credentials: Credentials, reason: str) -> Answer:
        """One answer for unknown user, wrong password and disabled account (decision D4)."""
        log.auth_failure("sip", credentials.username, flow.remote[0], flow.remote[1], reason)
        return self.refusal(403, "wrong user name or password")

    def _work(self, request: Request, flow: Flow, checked: Checked) -> Work:
        assert checked.account is not None
        assert checked.credentials is not None
        if request.method == "REGISTER":
            return self._register(request, flow, checked.account)
        if request.method in ("SUBSCRIBE", "PUBLISH"):
            return self._presence(request, flow, checked.account)
        return self._message(request, checked.account, checked.credentials)

    async def _again(self, request: Request, checked: Checked) -> Answer | None:
        """The right password with a used nonce: a retransmission gets its old answer, anything else a challenge."""
        assert checked.account is not None
        assert checked.credentials is not None
        try:
            known = await self._gateway.known(retransmission_key(request, checked.account, checked.credentials))
        except Unavailable:
            return None  # it may be stored: a refusal could be a lie, and the phone will ask again
        return Answer(202) if known is not None else self._challenge(request, stale=True)

    def _unavailable(self) -> Answer:
        return self.refusal(503, "the store cannot write now", ("Retry-After", _RETRY_AFTER))

    # --- REGISTER (RFC 3261 section 10.3; steps 1 to 3 are done) ---

    async def _register(self, request: Request, flow: Flow, account: Account) -> Answer:
        refused = self._own_aor(request, account)
        if refused is not None:
            return refused
        aor, now = account.name, self._clock()
        received = f"{flow.name}:{flow.remote[0]}:{flow.remote[1]}"
        arrival = registrar.Arrival(received, flow.local, flow.number)
        reached: list[Device] = []
        try:
            async with self._location.turn(aor):
                current = self._location.bindings(aor, now)
                result = registrar.register(request, aor, current, now, self.rules.policy, arrival)
                if result.updated or result.removed:
                    reached = await self._location.apply(aor, result.updated, result.removed, now)
        except Unavailable:  # RFC 3261 section 10.3, step 7: 500
            return self.refusal(500, "the store cannot write now", ("Retry-After", _RETRY_AFTER))
        log.registered(aor, result.status, len(result.bindings), received)
        if result.status != 200:
            if result.status == 420:
                return Answer(420, result.headers)
            return self.refusal(result.status, result.why, *result.headers)
        after = partial(self._reached, reached) if reached else None
        return Answer(200, self._registered(request, result, now), after)

    def _own_aor(self, request: Request, account: Account) -> Answer | None:
        """Steps 4 and 5: an account registers its own AOR only."""
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
        if result.outbound:  # a phone keeps its flow alive only if it is told so (RFC 5626 sections 4.4 and 6)
            headers += [("Require", "outbound"), ("Flow-Timer", str(self.rules.policy.flow_timer))]
        headers += [("Path", value) for value in request.headers.get("path", ())]
        return [*headers, ("Date", formatdate(now, usegmt=True)), ("Supported", ", ".join(_SUPPORTED))]

    def _reached(self, reached: list[Device]) -> None:
        for device in reached:
            self._spawn(self._gateway.reachable(device))

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

    # --- MESSAGE (RFC 3428 section 7) ---

    async def _message(self, request: Request, account: Account, credentials: Credentials) -> Answer:
        checked = self._check(request, account)
        if isinstance(checked, Answer):
            if checked.status >= 300:
                log.refused("sip", checked.status, account.name, _warning(checked))
            return checked
        source, destination, text = checked
        try:
            result = await self._gateway.send(
                account, source, destination, text, "sip",
                dedupe_key=retransmission_key(request, account, credentials),
                expires_at=self._expires_at(request),
            )  # fmt: skip
        except Unavailable:
            return self._unavailable()
        if isinstance(result, Refusal):
            return self._refuse_destination(result, account, destination)
        return Answer(202)

    def _check(self, request: Request, account: Account) -> Answer | tuple[str, str, str]:
        """Ownership, destination, content, in this order (D2): (source, destination, text) or the refusal."""
        assert request.to is not None
        assert request.target is not None
        if request.to.tag:
            return self.refusal(481, "there are no dialogs here: send without To tag")
        if not self.rules.is_ours(request.target):
            return self.refusal(403, f"{request.target.host[:80]} is not a domain of this server")
        source = self._caller_id(request, account)
        if isinstance(source, Answer):
            return source
        destination = self._gateway.dialplan.numbering.check(request.target.username)
        if isinstance(destination, Refusal):
            return self._refuse_destination(destination, account, request.target.username)
        text = self._text(request)
        return text if isinstance(text, Answer) else (source, destination, text)

    def _caller_id(self, request: Request, account: Account) -> str | Answer:
        """D8: display name of ten digits, else From user of ten digits, else the account's own."""
        assert request.from_ is not None
        try:
            user = request.from_.parsed().username
        except ParseError as error:
            return self.refusal(400, str(error))
        if not is_ten_digits(user) and user != account.name:
            return self.refusal(403, "From must be the account or one of its numbers")
        source = _stated(request.from_, user) or account.caller_id
        if not source:
            return self.refusal(403, "no caller ID: send From a number of the account, or set the account's caller ID")
        if not self._directory.may_send_from(account, source):
            return self.refusal(403, f"caller ID {source} is not an SMS-enabled number of this account")
        return source

    def _text(self, request: Request) -> str | Answer:
        found = content.read(request)
        match found:
            case content.Notice():
                return Answer(200)
            case content.Refused(status, why, header):
                return self.refusal(status, why, *([header] if header else []))
        text = found.text.replace("\r\n", "\n")
        if not text.strip():
            return self.refusal(400, "the text is empty")
        if "\0" in text:
            return self.refusal(400, "the text contains a NUL character")
        count = length(text, self.rules.length_unit)  # type: ignore[arg-type]
        if count > self.rules.max_length:
            return self.refusal(413, f"the text has {count} {self.rules.length_unit}, at most {self.rules.max_length}")
        return text

    def _refuse_destination(self, refusal: Refusal, account: Account, destination: str) -> Answer:
        if refusal.code in _AUDITED:
            log.audit("sip", account.name, destination[:32], refusal.reason)
        return self.refusal(_STATUS.get(refusal.code, 403), refusal.reason)

    def _expires_at(self, request: Request) -> float | None:
        """RFC 3428 section 4: counted from Date if that is sane, else from now. 0 is no limit we could keep."""
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


def _stated(from_: NameAddr, user: str) -> str:
    """The caller ID that a request states itself."""
    if is_ten_digits(from_.display):
        return from_.display
    return user if is_ten_digits(user) else ""


def _tokens(request: Request, header: str) -> list[str]:
    try:
        return [token.lower() for token in request.listed(header)]
    except ParseError:
        return []


def _warning(answer: Answer) -> str:
    return next((value for name, value in answer.headers if name == "Warning"), "")


def retransmission_key(request: Request, account: Account, credentials: Credentials) -> bytes:
    """16 bytes that are the same for each copy of one request (decision D7).

    They begin with the time the nonce was issued, so that keys of one moment stand together in the store's index.
    """
    tag = request.from_.tag if request.from_ else ""
    branch = request.via.branch if request.via else ""
    text = "\n".join((account.name, request.call_id, str(request.cseq), tag, branch))
    digest = blake2b(text.encode("utf-8", "surrogateescape"), digest_size=10).digest()
    return issued_at(credentials.nonce).to_bytes(6, "big") + digest
