"""Carrier for Telnyx, and for the providers that use its API for 3CX and PortSIP.

Out: POST /v2/messages with a bearer token; `data.id` (Telnyx) or `data.payload.id` (3CX) of the response is the
message's id. In: the events of `telnyx_events`, signed with Ed25519 if a public key is configured. Without a public key
the secret in the hook's path is the only authentication. Sources: developers.telnyx.com "Send a message", "Webhook
signing", "Error codes"; 3CX "Generic SMS provider".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from sipsms.carriers import payload, signatures, telnyx_events
from sipsms.carriers.outcomes import ask, by_meaning, by_status, json_of, plain, retry_after
from sipsms.carriers.settings import Meaning, TelnyxConfig
from sipsms.core.e164 import as_format
from sipsms.core.http_client import HttpReply
from sipsms.core.message import Accepted, Delivery, Outcome
from sipsms.messaging.base_carrier import BaseCarrier
from sipsms.messaging.carrier import CarrierTools, HookError, HookReply, HookRequest, Parsed

# Codes of `errors[].code` that are more precise than the status.
_CODES: Final[Mapping[str, Meaning]] = {
    "10009": "down",  # authentication failed
    "10010": "down",  # authorization failed
    "10011": "later",  # too many requests
    "20002": "down",  # API key revoked
    "20012": "down",  # account inactive
    "20013": "down",  # account blocked
    "20014": "down",  # account not verified
    "20100": "down",  # insufficient funds
    "40011": "later",  # too many requests upstream
    "40300": "opt_out",  # blocked due to STOP message
    "40318": "later",  # message queue full
}


class TelnyxCarrier(BaseCarrier):
    def __init__(self, name: str, config: TelnyxConfig, tools: CarrierTools) -> None:
        super().__init__(name)
        self._config = config
        self._tools = tools
        self._url = config.url.rstrip("/") + config.path
        self._headers = {
            "Accept": "application/json",
            "Authorization": f"Bearer {config.api_key.get_secret_value()}",
            "Content-Type": "application/json",
        }
        self.secret = config.inbound.secret.get_secret_value() if config.inbound else ""

    def parse(self, request: HookRequest) -> Parsed:
        if self._config.inbound is None:
            raise HookError(404, f"carrier {self.name} has no hook")
        payload.check_size(request)
        if self._config.public_key is not None:
            signatures.check_ed25519(request, self._config.public_key)
        messages, receipts = telnyx_events.read(request)
        return Parsed(messages, receipts, HookReply())

    async def send(self, delivery: Delivery) -> Outcome:
        body = json.dumps(self._body(delivery)).encode()
        timeout = self._config.timeout
        answer = await ask(self._tools.client, "POST", self._url, headers=self._headers, body=body, timeout=timeout)
        return outcome(answer) if isinstance(answer, HttpReply) else answer

    def _body(self, delivery: Delivery) -> dict[str, object]:
        body: dict[str, object] = {
            "from": as_format(delivery.source, "e164"),
            "to": as_format(delivery.destination, "e164"),
            "text": delivery.text,
        }
        if self._config.messaging_profile_id is not None:
            body["messaging_profile_id"] = self._config.messaging_profile_id
        if delivery.message.media:
            body["media_urls"] = [self._tools.media.url(one) for one in delivery.message.media]
        return body


def outcome(answer: HttpReply) -> Outcome:
    data = json_of(answer)
    if 200 <= answer.status < 300:
        named = (payload.word_of(payload.at_path(data, path)) for path in ("data.id", "data.payload.id"))
        remote_id = next(filter(None, named), "")
        return Accepted(remote_id) if remote_id else by_status(answer)
    code = payload.word_of(payload.at_path(data, "errors.0.code"))
    if code in _CODES:
        return by_meaning(_CODES[code], f"answered {answer.status}, error {code}", code, retry_after(answer))
    if _is_final(answer.status, code):
        return by_meaning("refused", f"answered {answer.status}, error {plain(code)}", plain(code))
    return by_status(answer)


def _is_final(status: int, code: str) -> bool:
    """Return True if Telnyx itself refuses the message: 400, 422, or 403 for a number that is not ours."""
    return bool(code) and 400 <= status < 500 and status not in (401, 408, 429)
