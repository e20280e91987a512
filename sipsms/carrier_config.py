"""Configuration of the carriers: one model for each type; what all of them may say is `CarrierOptions`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from sipsms.document import Model
from sipsms.values import Count, FieldValue, HeaderName, PathSecret, Positive, Rate, Secret, http_url


class Auth(Model):
    """How we show the carrier who we are: one of the two."""

    bearer: Secret | None = None
    basic: tuple[str, Secret] | None = None

    @model_validator(mode="after")
    def _one(self) -> Auth:
        if (self.bearer is None) == (self.basic is None):
            raise ValueError("expected either `bearer` or `basic`")
        if self.basic is not None and ":" in self.basic[0]:
            raise ValueError("the user of `basic` has a colon")  # RFC 7617 section 2
        return self


class Ok(Model):
    """Which answers mean that the carrier has the message, and where in them its id is."""

    status: tuple[Annotated[int, Field(ge=200, le=299)], ...] = (200, 201, 202)
    id: str | None = None


class InboundFields(Model):
    from_: str = Field(alias="from", default="from", min_length=1)
    to: Annotated[str, Field(min_length=1)] = "to"
    text: Annotated[str, Field(min_length=1)] = "text"
    id: str | None = None


class Reply(Model):
    status: Annotated[int, Field(ge=200, le=299)] = 200
    body: str = "ok"
    content_type: Annotated[str, Field(pattern=r"^[\w.+-]+/[\w.+-]+$")] = "text/plain"


class Inbound(Model):
    secret: PathSecret
    fields_: InboundFields = Field(alias="fields", default_factory=InboundFields)
    reply: Reply = Reply()


class CarrierOptions(Model):
    """What every carrier may say."""

    rate: Rate | None = None  # messages a second, at most
    concurrency: Count | None = None  # requests under way at once
    weight: Count = 1  # its share where a rule balances
    max_text: Annotated[int, Field(ge=0)] = 0  # a longer text goes in pieces of this size; 0: as it is
    text_unit: Literal["characters", "septets"] = "septets"  # what max_text counts; septets: real SMS, 160 or 70
    long_texts: Literal["split", "mms"] = "split"  # what becomes of a longer text
    mms: bool = False  # it takes media
    sender_name: str = ""  # shown instead of the number, where the carrier allows that
    sender_length: Annotated[int, Field(ge=1, le=16)] = 11


class LoopbackConfig(CarrierOptions):
    type: Literal["loopback"]
    mms: bool = True


_FIELDS: Final[Mapping[str, object]] = {"from": "{from}", "to": "{to}", "text": "{text}"}


class HttpCarrierConfig(CarrierOptions):
    type: Literal["http"]
    url: Annotated[str, AfterValidator(http_url)]
    method: Literal["POST", "PUT", "GET"] = "POST"
    body: Literal["json", "form", "query"] = "json"
    auth: Auth | None = None
    headers: dict[HeaderName, Secret] = Field(default_factory=dict)
    fields_: dict[str, FieldValue] = Field(alias="fields", default_factory=lambda: dict(_FIELDS))
    numbers: Literal["nanpa", "e164", "e164-bare"] = "nanpa"
    ok: Ok = Ok()
    timeout: Positive = 30.0
    inbound: Inbound | None = None

    @model_validator(mode="after")
    def _fields_fit(self) -> HttpCarrierConfig:
        if self.body == "json":
            nest(self.fields_)
        elif any(isinstance(value, dict | list) for value in self.fields_.values()):
            raise ValueError(f"`fields` of body {self.body} are flat: no lists, no mappings")
        if self.method == "GET" and self.body != "query":
            raise ValueError("method GET goes with body query")
        return self


def nest(fields: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1, "a.c": 2}` -> `{"a": {"b": 1, "c": 2}}`."""
    tree: dict[str, Any] = {}
    for key, value in fields.items():
        *above, last = key.split(".")
        node = tree
        for part in above:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                break
        if not isinstance(node, dict) or last in node:
            raise ValueError(f"`fields`: {key} and another key claim the same place")
        node[last] = value
    return tree


CarrierConfig = Annotated[LoopbackConfig | HttpCarrierConfig, Field(discriminator="type")]
