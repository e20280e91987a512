"""A carrier with an HTTP API, described by configuration instead of code.

Out: templates are compiled once into closures; a user's text is only ever a value in them, so braces in it mean
nothing. The answer's status decides (the table in `_outcome`); the carrier's words go into no reason, since some
carriers repeat the request, key and text included. In: three kinds of body, one look-up by path. What cannot be
understood is `HookError` with the field's name. Nothing here reads a clock or opens a socket: the client is passed in.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from string import Formatter
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from pydantic import SecretStr

from sipsms.carrier_config import HttpCarrierConfig, Inbound, nest
from sipsms.carriers.base import BaseCarrier
from sipsms.model import Accepted, Deferred, Delivery, Outcome, Rejected, Unknown
from sipsms.numbers import as_format
from sipsms.ports import HookError, HookReply, HookRequest, HttpClient, HttpReply, InboundSms, NoAnswer, NotSent, Parsed

MAX_BODY: Final = 256 * 1024
MAX_FORM_FIELDS: Final = 256
MAX_RETRY_AFTER: Final = 3600.0
MAX_REMOTE_ID: Final = 255

Values = Mapping[str, str]
Template = Callable[[Values], object]


class HttpCarrier(BaseCarrier):
    def __init__(self, name: str, config: HttpCarrierConfig, client: HttpClient) -> None:
        super().__init__(name)
        self._config = config
        self._client = client
        self._fields = {key: compile_template(value) for key, value in config.fields_.items()}
        self._headers = _headers(config)
        self.secret = config.inbound.secret.get_secret_value() if config.inbound else ""

    def parse(self, request: HookRequest) -> Parsed:
        inbound = self._config.inbound
        if inbound is None:
            raise HookError(404, f"carrier {self.name} has no hook")
        if len(request.body) > MAX_BODY:
            raise HookError(413, f"body is larger than {MAX_BODY} bytes")
        reply = HookReply(inbound.reply.status, inbound.reply.body, inbound.reply.content_type)
        return Parsed((_inbound_sms(inbound, _look_up(request)),), reply=reply)

    async def send(self, delivery: Delivery) -> Outcome:
        url, body = self._request(delivery)
        try:
            answer = await self._client.request(
                self._config.method, url, headers=self._headers, body=body, timeout=self._config.timeout
            )
        except NotSent as error:
            return Deferred(f"not sent: {error}", whole_courier=True)
        except NoAnswer as error:
            return Unknown(f"no answer: {error}")
        return self._outcome(answer)

    def _request(self, delivery: Delivery) -> tuple[str, bytes]:
        values = _values(delivery, self._config.numbers)
        fields = {key: template(values) for key, template in self._fields.items()}
        if self._config.body == "json":
            return self._config.url, json.dumps(nest(fields)).encode()
        encoded = urlencode(_flat(fields), errors="replace")
        if self._config.body == "form":
            return self._config.url, encoded.encode()
        return _with_query(self._config.url, encoded), b""

    def _outcome(self, answer: HttpReply) -> Outcome:
        status = answer.status
        if status in self._config.ok.status:
            return self._accepted(answer)
        if 200 <= status < 300:
            return Unknown(f"answered {status}, which is not in ok.status")
        if status == 429 or status >= 500:
            return Deferred(f"answered {status}", retry_after=_retry_after(answer.headers.get("retry-after", "")))
        return Rejected(f"answered {status}", code=str(status))

    def _accepted(self, answer: HttpReply) -> Outcome:
        if self._config.ok.id is None:
            return Accepted()
        try:
            data = json.loads(answer.body)
        except (ValueError, RecursionError):
            return Unknown(f"answered {answer.status} with a body that is not JSON")
        return Accepted(_remote_id(at_path(data, self._config.ok.id)))


# --- out -------------------------------------------------------------------------------------------------------------


def compile_template(value: object) -> Template:
    """A function from the message's values to what is sent: the configured text is parsed here, and never again."""
    if isinstance(value, str):
        return _compile_text(value)
    if isinstance(value, dict):
        inner = {key: compile_template(v) for key, v in value.items()}
        return lambda values: {key: template(values) for key, template in inner.items()}
    if isinstance(value, list):
        items = [compile_template(v) for v in value]
        return lambda values: [template(values) for template in items]
    constant = value.get_secret_value() if isinstance(value, SecretStr) else value
    return lambda _: constant


def _compile_text(text: str) -> Template:
    parts = [(literal, name) for literal, name, _, _ in Formatter().parse(text)]
    return lambda values: "".join(literal + (values[name] if name else "") for literal, name in parts)


def _values(delivery: Delivery, numbers: str) -> Values:
    message = delivery.message
    return {
        "from": as_format(delivery.source, numbers),
        "to": as_format(delivery.destination, numbers),
        "text": delivery.text,
        "id": str(delivery.id),
        "did": as_format(message.did, numbers),
        "account": message.account,
    }


def _flat(fields: Mapping[str, object]) -> dict[str, str]:
    """Forms know texts only: true as JSON writes it, and null is a field that is not there."""
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in fields.items() if v is not None}


def _with_query(url: str, query: str) -> str:
    parts = urlsplit(url)
    return parts._replace(query="&".join(filter(None, (parts.query, query))), fragment="").geturl()


_CONTENT_TYPES: Final = {"json": "application/json", "form": "application/x-www-form-urlencoded"}


def _headers(config: HttpCarrierConfig) -> dict[str, str]:
    own = {"Accept": "application/json", **_authorization(config)}
    if config.body in _CONTENT_TYPES:
        own["Content-Type"] = _CONTENT_TYPES[config.body]
    configured = {name: value.get_secret_value() for name, value in config.headers.items()}
    overridden = {name.lower() for name in configured}
    return {name: value for name, value in own.items() if name.lower() not in overridden} | configured


def _authorization(config: HttpCarrierConfig) -> dict[str, str]:
    if config.auth is None:
        return {}
    if config.auth.bearer is not None:
        return {"Authorization": f"Bearer {config.auth.bearer.get_secret_value()}"}
    assert config.auth.basic is not None
    user, password = config.auth.basic
    return {"Authorization": "Basic " + b64encode(f"{user}:{password.get_secret_value()}".encode()).decode()}


def _retry_after(value: str) -> float | None:
    """Seconds only: the other form, a date, would need a clock that agrees with the carrier's."""
    if not (value.isascii() and value.isdigit() and len(value) <= 9):
        return None
    return min(float(value), MAX_RETRY_AFTER)


def _remote_id(value: object) -> str:
    known = isinstance(value, str | int) and not isinstance(value, bool)
    return _clean(str(value))[:MAX_REMOTE_ID] if known else ""


# --- in --------------------------------------------------------------------------------------------------------------

LookUp = Callable[[str], object]  # a path -> what is there, None for nothing


def at_path(data: object, path: str) -> object:
    """`messages.0.id` in parsed JSON; None where there is nothing."""
    for part in path.split("."):
        if isinstance(data, dict):
            data = data.get(part)
        elif isinstance(data, list) and part.isascii() and part.isdigit() and len(part) < 6 and int(part) < len(data):
            data = data[int(part)]
        else:
            return None
    return data


def _look_up(request: HookRequest) -> LookUp:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not request.body:
        return request.query.get
    if kind == "application/x-www-form-urlencoded":
        return _form(request.body).get
    if kind == "application/json" or kind.endswith("+json") or (not kind and request.body[:1] in (b"{", b"[")):
        data = _json(request.body)
        return lambda path: at_path(data, path)
    raise HookError(415, "expected application/json or application/x-www-form-urlencoded")


def _form(body: bytes) -> dict[str, str]:
    try:
        text = body.decode("ascii")
        return dict(parse_qsl(text, keep_blank_values=True, errors="replace", max_num_fields=MAX_FORM_FIELDS))
    except ValueError:
        raise HookError(400, "body is not a form") from None


def _json(body: bytes) -> object:
    try:
        data: object = json.loads(body)
    except (ValueError, RecursionError):
        raise HookError(400, "body is not JSON") from None
    return data


def _inbound_sms(inbound: Inbound, look_up: LookUp) -> InboundSms:
    paths = inbound.fields_
    return InboundSms(
        source=_number("from", paths.from_, look_up),
        destination=_number("to", paths.to, look_up),
        text=_text("text", paths.text, look_up),
        remote_id=_number("id", paths.id, look_up) if paths.id else "",
    )


def _text(field: str, path: str, look_up: LookUp) -> str:
    value = look_up(path)
    if value is None:
        raise HookError(400, f"field '{field}' (path {path}) is missing")
    if not isinstance(value, str):
        raise HookError(400, f"field '{field}' (path {path}) is not text")
    return _clean(value)


def _number(field: str, path: str, look_up: LookUp) -> str:
    """A number or an id: some carriers write it as JSON's number. Never empty."""
    value = look_up(path)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = _text(field, path, look_up).strip()
    if not text:
        raise HookError(400, f"field '{field}' (path {path}) is empty")
    return text


def _clean(text: str) -> str:
    r"""Half a surrogate pair (JSON's \ud83d) and NUL would be refused by the store at every try of the carrier."""
    if text.isascii():
        return text.replace("\0", "\ufffd")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")
