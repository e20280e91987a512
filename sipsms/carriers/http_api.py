"""Carrier with an HTTP API that the configuration describes.

Out: templates are compiled once into closures. A user's text is only a value in them, so its braces have no meaning.
The response's status decides the outcome, or a configured word or text in its body. A reason must not contain the
carrier's sentences, because they may repeat secrets of the request. In: see `http_inbound`. This module must not read a
clock or open a socket: the client is passed in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from string import Formatter
from typing import Final
from urllib.parse import urlencode, urlsplit

from pydantic import SecretStr

from sipsms.carriers.http_inbound import parse
from sipsms.carriers.outcomes import ask, basic, by_meaning, by_status, json_of, plain, retry_after
from sipsms.carriers.payload import at_path, word_of
from sipsms.carriers.settings import HttpCarrierConfig, Meaning, TextId, nest
from sipsms.core.e164 import as_format
from sipsms.core.http_client import HttpReply
from sipsms.core.message import Accepted, Delivery, Outcome, Rejected, Unknown
from sipsms.messaging.base_carrier import BaseCarrier
from sipsms.messaging.carrier import CarrierTools, HookError, HookRequest, Parsed

Values = Mapping[str, str]
Template = Callable[[Values], object]


class HttpCarrier(BaseCarrier):
    def __init__(self, name: str, config: HttpCarrierConfig, tools: CarrierTools) -> None:
        super().__init__(name)
        self._config = config
        self._tools = tools
        self._fields = _compile(config.fields_)
        self._media_fields = _compile(config.media.fields_) if config.media else {}
        self._headers = _headers(config)
        self._query = _query(config)
        self.secret = config.inbound.secret.get_secret_value() if config.inbound else ""

    def parse(self, request: HookRequest) -> Parsed:
        if self._config.inbound is None:
            raise HookError(404, f"carrier {self.name} has no hook")
        return parse(self._config.inbound, request)

    async def send(self, delivery: Delivery) -> Outcome:
        if delivery.message.media and self._config.media is None:
            return Rejected("the carrier takes no media")
        url, body = self._request(delivery)
        answer = await ask(
            self._tools.client, self._config.method, url, headers=self._headers, body=body, timeout=self._config.timeout
        )
        return self._outcome(answer) if isinstance(answer, HttpReply) else answer

    # --- the request ---

    def _request(self, delivery: Delivery) -> tuple[str, bytes]:
        fields = self._filled(delivery)
        url = _with_query(self._config.url, self._query)
        if self._config.body == "json":
            return url, json.dumps(nest(fields)).encode()
        encoded = urlencode(_flat(fields), errors="replace")
        if self._config.body == "form":
            return url, encoded.encode()
        return _with_query(url, encoded), b""

    def _filled(self, delivery: Delivery) -> dict[str, object]:
        values = _values(delivery, self._config.numbers)
        templates = dict(self._fields)
        fields: dict[str, object] = {}
        if self._config.media is not None and delivery.message.media:
            templates |= self._media_fields
            fields[self._config.media.field] = [self._tools.media.url(one) for one in delivery.message.media]
        if self._config.hook_field and self._tools.hook_url and self.secret:
            fields[self._config.hook_field] = f"{self._tools.hook_url}/{self.secret}"
        return {key: template(values) for key, template in templates.items()} | fields

    # --- the answer ---

    def _outcome(self, answer: HttpReply) -> Outcome:
        status, ok = answer.status, self._config.ok
        if status in ok.status:
            return self._taken(answer)
        if (meaning := ok.statuses.get(str(status))) is not None:
            return self._meant(meaning, str(status), answer)
        word = word_of(at_path(json_of(answer), ok.word)) if ok.word else ""
        if word in ok.words:
            return self._meant(ok.words[word], word, answer)
        if 200 <= status < 300:
            return Unknown(f"answered {status}, which is not in ok.status")
        return by_status(answer)

    def _taken(self, answer: HttpReply) -> Outcome:
        ok = self._config.ok
        if ok.text:
            return self._said(answer)
        if ok.id is None and ok.word is None:
            return Accepted()
        data = json_of(answer)
        if data is None:
            return Unknown(f"answered {answer.status} with a body that is not JSON")
        if ok.word is None:
            return self._accepted(data)
        word = word_of(at_path(data, ok.word))
        if not word:
            return Unknown(f"answered {answer.status} without a word at {ok.word}")
        meaning = ok.words.get(word, ok.other)
        return self._accepted(data) if meaning == "taken" else self._meant(meaning, word, answer)

    def _said(self, answer: HttpReply) -> Outcome:
        """Return the outcome of a text response; its reason has the configured beginning, not the carrier's text."""
        ok = self._config.ok
        text = answer.body.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
        beginning = next((one for one in ok.text if text.lower().startswith(one.lower())), None)
        if beginning is None:
            return by_meaning(ok.other, f"answered {answer.status} with a text that is not in ok.text")
        meaning = ok.text[beginning]
        if meaning == "taken":
            return Accepted(_id_in(text, ok.text_id) if ok.text_id else "")
        return by_meaning(meaning, f"answered {beginning}", beginning, retry_after(answer))

    def _accepted(self, data: object) -> Outcome:
        value = at_path(data, self._config.ok.id) if self._config.ok.id else None
        return Accepted("" if isinstance(value, bool) else word_of(value))

    def _meant(self, meaning: Meaning, word: str, answer: HttpReply) -> Outcome:
        return by_meaning(meaning, f"answered {plain(word)}", plain(word), retry_after(answer))


def _id_in(text: str, where: TextId) -> str:
    """Return the id in a text response, "" without `after`: the carrier has the message nevertheless."""
    rest = text.partition(where.after)[2].strip()
    if where.before is not None:
        return word_of(rest.partition(where.before)[0])
    return word_of(rest.split(maxsplit=1)[0]) if rest else ""


# --- templates -------------------------------------------------------------------------------------------------------


def _compile(fields: Mapping[str, object]) -> dict[str, Template]:
    return {key: compile_template(value) for key, value in fields.items()}


def compile_template(value: object) -> Template:
    """Compile a configured value to a function of the message's values, which are never parsed themselves."""
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


def _flat(fields: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return form fields: true as in JSON, a list as a repeated field, null as no field."""
    pairs = [(key, one) for key, value in fields.items() for one in (value if isinstance(value, list) else [value])]
    return [(key, one if isinstance(one, str) else json.dumps(one)) for key, one in pairs if one is not None]


def _with_query(url: str, query: str) -> str:
    if not query:
        return url
    parts = urlsplit(url)
    return parts._replace(query="&".join(filter(None, (parts.query, query))), fragment="").geturl()


# --- credentials -----------------------------------------------------------------------------------------------------

_CONTENT_TYPES: Final = {"json": "application/json", "form": "application/x-www-form-urlencoded"}


def _headers(config: HttpCarrierConfig) -> dict[str, str]:
    own = {"Accept": "application/json", **_authorization(config)}
    if config.body in _CONTENT_TYPES:
        own["Content-Type"] = _CONTENT_TYPES[config.body]
    configured = {name: value.get_secret_value() for name, value in config.headers.items()}
    overridden = {name.lower() for name in configured}
    return {name: value for name, value in own.items() if name.lower() not in overridden} | configured


def _authorization(config: HttpCarrierConfig) -> dict[str, str]:
    if config.auth is None or config.auth.query is not None:
        return {}
    if config.auth.bearer is not None:
        return {"Authorization": f"Bearer {config.auth.bearer.get_secret_value()}"}
    assert config.auth.basic is not None
    user, password = config.auth.basic
    return {"Authorization": basic(user, password.get_secret_value())}


def _query(config: HttpCarrierConfig) -> str:
    given = (config.auth.query if config.auth else None) or {}
    return urlencode({name: value.get_secret_value() for name, value in given.items()})
