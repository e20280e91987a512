"""Carrier for Bandwidth, messaging API v2.

Out: JSON with Basic authentication, answered 202 when queued; `tag` is our delivery's id and returns in the receipts.
In: an array of events, with the user and password configured in the portal. Media are fetched with our credentials,
which must go to Bandwidth's own host only. Sources: dev.bandwidth.com "Messaging", "Callbacks", "Errors".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from sipsms.carriers import payload, signatures
from sipsms.carriers.outcomes import ask, basic, by_status, json_of
from sipsms.carriers.settings import BandwidthConfig
from sipsms.core.e164 import as_format
from sipsms.core.http_client import HttpReply
from sipsms.core.message import Accepted, Delivery, Outcome, State
from sipsms.core.queue_rows import CarrierReceipt
from sipsms.messaging.base_carrier import BaseCarrier
from sipsms.messaging.carrier import CarrierTools, HookError, HookReply, HookRequest, InboundSms, Parsed

MAX_EVENTS: Final = 100

_STATES: Final[Mapping[object, State]] = {
    "message-sending": State.ACCEPTED,
    "message-delivered": State.DELIVERED,
    "message-read": State.DELIVERED,
    "message-failed": State.FAILED,
}


class BandwidthCarrier(BaseCarrier):
    def __init__(self, name: str, config: BandwidthConfig, tools: CarrierTools) -> None:
        super().__init__(name)
        self._config = config
        self._tools = tools
        self._url = f"{config.url.rstrip('/')}/api/v2/users/{config.account_id}/messages"
        user, password = config.auth.basic
        self._authorization = {"Authorization": basic(user, password.get_secret_value())}
        self.secret = config.inbound.secret.get_secret_value() if config.inbound else ""

    def media_headers(self, url: str) -> Mapping[str, str]:
        return self._authorization if payload.same_server(url, self._config.url) else {}

    # --- in ---

    def parse(self, request: HookRequest) -> Parsed:
        inbound = self._config.inbound
        if inbound is None:
            raise HookError(404, f"carrier {self.name} has no hook")
        payload.check_size(request)
        if inbound.auth is not None:
            user, password = inbound.auth.basic
            signatures.check_basic(request, user, password.get_secret_value())
        events = [payload.mapping(one) for one in _events(payload.parsed_json(request))]
        messages = tuple(_inbound(one) for one in events if one.get("type") == "message-received")
        receipts = tuple(self._receipt(one) for one in events if _kind(one) in _STATES)
        return Parsed(messages, receipts, HookReply())

    def _receipt(self, event: Mapping[str, Any]) -> CarrierReceipt:
        code = payload.word_of(event.get("errorCode"))
        state = _STATES[_kind(event)]
        opted_out = state is State.FAILED and code in map(str, self._config.opt_out_codes)
        remote_id = payload.number_of(payload.mapping(event.get("message")).get("id"), "message.id")
        return CarrierReceipt(remote_id, state, f"{_kind(event)} {code}".strip(), opted_out)

    # --- out ---

    async def send(self, delivery: Delivery) -> Outcome:
        answer = await ask(
            self._tools.client, "POST", self._url,
            headers={**self._authorization, "Accept": "application/json", "Content-Type": "application/json"},
            body=json.dumps(self._body(delivery)).encode(), timeout=self._config.timeout,
        )  # fmt: skip
        return _outcome(answer) if isinstance(answer, HttpReply) else answer

    def _body(self, delivery: Delivery) -> dict[str, object]:
        body: dict[str, object] = {
            "applicationId": self._config.application_id,
            "from": as_format(delivery.source, "e164"),
            "to": [as_format(delivery.destination, "e164")],
            "text": delivery.text,
            "tag": str(delivery.id),
        }
        if delivery.message.media:
            body["media"] = [self._tools.media.url(one) for one in delivery.message.media]
        return body


def _outcome(answer: HttpReply) -> Outcome:
    if 200 <= answer.status < 300:
        remote_id = payload.word_of(payload.at_path(json_of(answer), "id"))
        return Accepted(remote_id) if remote_id else by_status(answer)
    return by_status(answer)


def _events(data: object) -> list[Any]:
    if not isinstance(data, list) or len(data) > MAX_EVENTS:
        raise HookError(400, f"expected an array of at most {MAX_EVENTS} events")
    return data


def _kind(event: Mapping[str, Any]) -> str:
    return payload.word_of(event.get("type"))


def _inbound(event: Mapping[str, Any]) -> InboundSms:
    """Return the message of an event, whose `to` is the DID among the recipients of a group message."""
    message = payload.mapping(event.get("message"))
    media = payload.media_of((url, None, None) for url in payload.sequence(message.get("media")))
    to = event.get("to") or message.get("owner") or payload.at_path(message, "to.0")
    remote_id = payload.number_of(message.get("id"), "message.id")
    text = message.get("text")
    return InboundSms(
        payload.number_of(message.get("from"), "message.from"),
        payload.number_of(to, "to"),
        payload.optional_text_of(text, "message.text"),
        remote_id,
        media,
    )
