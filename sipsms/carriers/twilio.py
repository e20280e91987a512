"""Carrier for Twilio, and for SignalWire, whose compatibility API has another URL.

Out: a form to Messages.json. In: a form, signed with HMAC-SHA1 over the hook's public URL, so `web.url` of the
configuration must be the URL that the carrier calls. A receipt is a request with `MessageStatus`. Media are fetched
with our credentials, which must go to the carrier's own host only. Sources: twilio.com/docs "Message resource",
"Webhooks security", "Error and warning dictionary"; developer.signalwire.com "Webhook security".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from sipsms.carriers import payload, signatures
from sipsms.carriers.outcomes import ask, basic, by_meaning, by_status, json_of, plain, retry_after
from sipsms.carriers.settings import Meaning, TwilioConfig
from sipsms.core.charset import Pairs
from sipsms.core.e164 import as_format
from sipsms.core.http_client import HttpReply
from sipsms.core.message import Accepted, Delivery, Outcome, State
from sipsms.core.queue_rows import CarrierReceipt
from sipsms.messaging.base_carrier import BaseCarrier
from sipsms.messaging.carrier import CarrierTools, HookError, HookReply, HookRequest, InboundMedia, InboundSms, Parsed

OPTED_OUT: Final = "21610"  # "Attempt to send to unsubscribed recipient"

_CODES: Final[Mapping[str, Meaning]] = {
    "20003": "down",  # authentication error: wrong token, or no balance
    "20005": "down",  # account not active
    "20429": "later",  # too many requests
    "14107": "later",  # message rate limit exceeded
    "21611": "later",  # the number's queue is full
    "21610": "opt_out",
    "30001": "later",  # queue overflow
    "30002": "down",  # account suspended
}

_STATES: Final[Mapping[str, State]] = {
    "accepted": State.ACCEPTED,
    "scheduled": State.ACCEPTED,
    "queued": State.ACCEPTED,
    "sending": State.ACCEPTED,
    "sent": State.ACCEPTED,
    "delivered": State.DELIVERED,
    "read": State.DELIVERED,
    "undelivered": State.FAILED,
    "failed": State.FAILED,
    "canceled": State.FAILED,
}

_REPLY: Final = HookReply(200, "<Response/>", "text/xml")  # TwiML without a reply message


class TwilioCarrier(BaseCarrier):
    def __init__(self, name: str, config: TwilioConfig, tools: CarrierTools) -> None:
        super().__init__(name)
        self._config = config
        self._tools = tools
        self._url = f"{config.url.rstrip('/')}/2010-04-01/Accounts/{config.account_sid}/Messages.json"
        self._authorization = {"Authorization": _authorization(config)}
        key = config.signing_key or config.auth_token
        self._key = key.get_secret_value() if key else ""
        self.secret = config.inbound.secret.get_secret_value() if config.inbound else ""

    def media_headers(self, url: str) -> Mapping[str, str]:
        return self._authorization if payload.same_server(url, self._config.url) else {}

    # --- in ---

    def parse(self, request: HookRequest) -> Parsed:
        if self._config.inbound is None:
            raise HookError(404, f"carrier {self.name} has no hook")
        payload.check_size(request)
        signatures.check_twilio(request, _form(request), self._key)
        fields = payload.fields(request)
        if fields.get("MessageStatus", "received") not in ("received", "receiving"):
            return Parsed(receipts=(_receipt(fields),), reply=_REPLY)
        return Parsed((_inbound(fields),), reply=_REPLY)

    # --- out ---

    async def send(self, delivery: Delivery) -> Outcome:
        answer = await ask(
            self._tools.client, "POST", self._url,
            headers={**self._authorization, "Accept": "application/json", "Content-Type": payload.FORM},
            body=urlencode(self._fields(delivery), errors="replace").encode(), timeout=self._config.timeout,
        )  # fmt: skip
        return outcome(answer) if isinstance(answer, HttpReply) else answer

    def _fields(self, delivery: Delivery) -> list[tuple[str, str]]:
        fields = [("To", as_format(delivery.destination, "e164")), ("From", as_format(delivery.source, "e164"))]
        if self._config.messaging_service_sid is not None:
            fields.append(("MessagingServiceSid", self._config.messaging_service_sid))
        if delivery.text or not delivery.message.media:
            fields.append(("Body", delivery.text))
        fields += [("MediaUrl", self._tools.media.url(one)) for one in delivery.message.media]
        if self.secret and self._tools.hook_url:
            fields.append(("StatusCallback", f"{self._tools.hook_url}/{self.secret}"))
        return fields


def _authorization(config: TwilioConfig) -> str:
    if config.api_key_sid is not None and config.api_key_secret is not None:
        return basic(config.api_key_sid, config.api_key_secret.get_secret_value())
    assert config.auth_token is not None
    return basic(config.account_sid, config.auth_token.get_secret_value())


def outcome(answer: HttpReply) -> Outcome:
    data = json_of(answer)
    if 200 <= answer.status < 300:
        return _taken(data) or by_status(answer)
    code = payload.word_of(payload.at_path(data, "code"))
    if code in _CODES:
        return by_meaning(_CODES[code], f"answered {answer.status}, error {code}", code, retry_after(answer))
    if code and answer.status in (400, 403, 404):
        return by_meaning("refused", f"answered {answer.status}, error {plain(code)}", plain(code))
    return by_status(answer)


def _taken(data: Any) -> Outcome | None:
    """Return the outcome of a 2xx response, None without an id; status `failed` is a refusal nevertheless."""
    fields = payload.mapping(data)
    sid = payload.word_of(fields.get("sid"))
    if not sid:
        return None
    if fields.get("status") in ("failed", "undelivered"):
        code = plain(payload.word_of(fields.get("error_code")))
        return by_meaning(_CODES.get(code, "refused"), f"refused, error {code}", code)
    return Accepted(sid)


def _form(request: HookRequest) -> Pairs:
    """Return the signed fields of a POST; a GET has its fields in the URL. Raises HookError."""
    if not request.body:
        return []
    if payload.media_type(request) != payload.FORM:
        raise HookError(415, f"expected {payload.FORM}")
    return payload.form(request)


def _inbound(fields: Mapping[str, str]) -> InboundSms:
    media = _media(fields)
    return InboundSms(
        payload.number_of(fields.get("From"), "From"),
        payload.number_of(fields.get("To"), "To"),
        payload.optional_text_of(fields.get("Body"), "Body"),
        payload.number_of(fields.get("MessageSid") or fields.get("SmsSid"), "MessageSid"),
        media,
    )


def _media(fields: Mapping[str, str]) -> tuple[InboundMedia, ...]:
    numbers = range(payload.MAX_MEDIA)
    return payload.media_of((fields.get(f"MediaUrl{n}"), fields.get(f"MediaContentType{n}"), None) for n in numbers)


def _receipt(fields: Mapping[str, str]) -> CarrierReceipt:
    word = payload.word_of(fields.get("MessageStatus"))
    code = payload.word_of(fields.get("ErrorCode"))
    state = _STATES.get(word, State.ACCEPTED)
    remote_id = payload.number_of(fields.get("MessageSid") or fields.get("SmsSid"), "MessageSid")
    return CarrierReceipt(remote_id, state, f"{word} {code}".strip(), state is State.FAILED and code == OPTED_OUT)
