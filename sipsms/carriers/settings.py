"""Settings of the carriers: one model for each type; `CarrierOptions` has the common settings."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from sipsms.core.e164 import is_digits, normalise
from sipsms.core.validators import FieldValue, HeaderName, PathSecret, Positive, Secret, http_url
from sipsms.core.yaml_file import Model
from sipsms.messaging.carrier_options import CarrierOptions

Url = Annotated[str, AfterValidator(http_url)]
Path = Annotated[str, Field(min_length=1)]  # `data.0.id` in JSON; a field's name in a form or query

# Meaning of a response's word or status. taken: the carrier has the message. later: certainly not, try again. down:
# certainly not, and every other message would fail until the cause is corrected. refused: never. opt_out: never, as the
# recipient has opted out. unknown: the outcome is unknown.
Meaning = Literal["taken", "later", "down", "refused", "opt_out", "unknown"]


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Paths = Annotated[tuple[Path, ...], BeforeValidator(_several), Field(min_length=1)]  # the first with a value counts


def _no_colon(user: str) -> str:
    if ":" in user:
        raise ValueError("the user has a colon")  # RFC 7617 section 2
    return user


class Basic(Model):
    """User and password of Basic authentication (RFC 7617)."""

    basic: tuple[Annotated[str, AfterValidator(_no_colon)], Secret]


class Auth(Model):
    """Our credentials at the carrier, one of the three; `query` goes into every URL."""

    bearer: Secret | None = None
    basic: tuple[Annotated[str, AfterValidator(_no_colon)], Secret] | None = None
    query: dict[Path, Secret] | None = None

    @model_validator(mode="after")
    def _one(self) -> Auth:
        if sum(one is not None for one in (self.bearer, self.basic, self.query)) != 1:
            raise ValueError("expected one of `bearer`, `basic` and `query`")
        return self


class LoopbackConfig(CarrierOptions):
    type: Literal["loopback"]
    mms: bool = True


class Hook(Model):
    """Settings of a hook: messages and receipts come in at /hooks/NAME/SECRET."""

    secret: PathSecret


# --- http: a carrier described by configuration -----------------------------------------------------------------------


def _beginning(text: str) -> str:
    if not text or text != text.lstrip() or not text.isprintable():
        raise ValueError("expected how an answer begins: printable, and without spaces before it")
    return text


class TextId(Model):
    """Place of the id in a text response: after the first `after`, up to `before` or the next space."""

    after: Path
    before: Path | None = None


class Ok(Model):
    """Responses that mean that the carrier has the message, and the place of the id in them.

    Some carriers answer 200 to every request and give the result in a `word` of the body, or in a `text` that is no
    JSON. A `text` is compared with the beginning of the response, ignoring case; the first match counts.
    """

    status: tuple[Annotated[int, Field(ge=200, le=299)], ...] = (200, 201, 202)
    id: str | None = None
    word: Path | None = None
    words: dict[str, Meaning] = Field(default_factory=dict)
    text: dict[Annotated[str, AfterValidator(_beginning)], Meaning] = Field(default_factory=dict)
    text_id: TextId | None = None
    other: Meaning = "unknown"  # meaning of a word not in `words` or a text not in `text`
    statuses: dict[Annotated[str, Field(pattern="^[1-5][0-9][0-9]$")], Meaning] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _words_have_a_place(self) -> Ok:
        if self.words and self.word is None:
            raise ValueError("`words` needs `word`: where in the answer the word is")
        return self

    @model_validator(mode="after")
    def _texts_are_no_json(self) -> Ok:
        if self.text_id and not self.text:
            raise ValueError("`text_id` needs `text`: which answers there are")
        if self.text and (self.word is not None or self.id is not None):
            raise ValueError("`text` is for answers that are no JSON: it goes without `id` and `word`")
        texts = list(self.text)
        for i, late in enumerate(texts):
            if early := next((one for one in texts[:i] if late.lower().startswith(one.lower())), None):
                raise ValueError(f"`text`: {late!r} is never looked at, since {early!r} stands before it")
        return self


class MediaOut(Model):
    """Media of an MMS in a request: the list of URLs in `field`, and `fields` that only an MMS has."""

    field: Path
    fields_: dict[str, FieldValue] = Field(alias="fields", default_factory=dict)


class InboundFields(Model):
    """Paths of a message's fields."""

    from_: Paths = Field(alias="from", default=("from",))
    to: Paths = ("to",)
    text: Paths = ("text",)
    id: Paths | None = None


class MediaIn(Model):
    """Place of an MMS's parts: a list (`items`), or fields from 0 or 1 (`url: "Media{n}"`)."""

    items: Path | None = None
    url: str = ""  # path within an item; empty: the item is the URL
    type: Path | None = None
    name: Path | None = None

    @model_validator(mode="after")
    def _numbered(self) -> MediaIn:
        if self.items is None and "{n}" not in self.url:
            raise ValueError("expected `items: PATH` of a list, or `url` with {n}, as in Media{n}")
        return self


class PartIn(Model):
    """Paths of a segment's reference, number and total in a text of several messages."""

    reference: Path
    number: Path
    total: Path


class ReceiptsIn(Model):
    """Requests that are receipts (all of `when`, else those with a state), and their fields."""

    when: dict[Path, tuple[str, ...]] = Field(default_factory=dict)
    id: Paths = ("id",)
    state: Paths = ("status",)
    states: dict[str, Literal["accepted", "delivered", "failed", "expired"]]  # others: accepted
    detail: Path | None = None
    opt_out: tuple[str, ...] = ()  # values of `detail` that mean that the recipient has opted out


class Signature(Model):
    """Signature of the carrier's requests; the last four settings are for kind hmac-sha256."""

    kind: Literal["hmac-sha256", "plivo", "vonage"]
    key: Secret
    header: HeaderName = "X-Signature"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    timestamp: HeaderName | None = None


class Reply(Model):
    """Response to the carrier's requests."""

    status: Annotated[int, Field(ge=200, le=299)] = 200
    body: str = "ok"
    content_type: Annotated[str, Field(pattern=r"^[\w.+-]+/[\w.+-]+$")] = "text/plain"


def _own_number(value: object) -> str:
    """Return a normalised number; YAML reads digits without quotes as a number."""
    raw = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    number = normalise(raw)
    if number is None or not is_digits(number.removeprefix("+")):
        raise ValueError(f"expected a telephone number like 4165550000, got {value!r}")
    return number


class Inbound(Hook):
    to: Annotated[str, BeforeValidator(_own_number)] | None = None  # the DID of every message, instead of `fields.to`
    fields_: InboundFields = Field(alias="fields", default_factory=InboundFields)
    when: dict[Path, tuple[str, ...]] = Field(default_factory=dict)  # requests that are messages; others are ignored
    media: MediaIn | None = None
    part: PartIn | None = None
    receipts: ReceiptsIn | None = None
    auth: Basic | None = None
    signature: Signature | None = None
    ping: bool = False  # acknowledge an empty request, with which the carrier tests the URL
    reply: Reply = Reply()

    @model_validator(mode="after")
    def _one_destination(self) -> Inbound:
        if self.to is not None and "to" in self.fields_.model_fields_set:
            raise ValueError("`to` and `fields.to`: all messages are for one number, or each names its own")
        return self


_FIELDS: Final[Mapping[str, object]] = {"from": "{from}", "to": "{to}", "text": "{text}"}


class HttpCarrierConfig(CarrierOptions):
    type: Literal["http"]
    url: Url
    method: Literal["POST", "PUT", "GET"] = "POST"
    body: Literal["json", "form", "query"] = "json"
    auth: Auth | None = None
    headers: dict[HeaderName, Secret] = Field(default_factory=dict)
    fields_: dict[str, FieldValue] = Field(alias="fields", default_factory=lambda: dict(_FIELDS))
    media: MediaOut | None = None
    hook_field: Path | None = None  # field for our hook's URL, if the carrier needs it in every message
    numbers: Literal["nanpa", "e164", "e164-bare"] = "nanpa"
    ok: Ok = Ok()
    timeout: Positive = 30.0
    inbound: Inbound | None = None

    @model_validator(mode="after")
    def _fields_fit(self) -> HttpCarrierConfig:
        if self.mms and self.media is None:
            raise ValueError("`mms: true` needs `media`: how they travel")
        if self.body == "json":
            nest(self.all_fields())
        elif any(isinstance(value, dict | list) for value in self.all_fields().values()):
            raise ValueError(f"`fields` of body {self.body} are flat: no lists, no mappings")
        if self.method == "GET" and self.body != "query":
            raise ValueError("method GET goes with body query")
        return self

    def all_fields(self) -> dict[str, object]:
        """Return all fields of an MMS; fields that are filled for each message are None."""
        filled = {self.media.field: None} if self.media else {}
        more = self.media.fields_ if self.media else {}
        hook = {self.hook_field: None} if self.hook_field else {}
        return {**self.fields_, **more, **filled, **hook}


def nest(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested fields: `{"a.b": 1, "a.c": 2}` -> `{"a": {"b": 1, "c": 2}}`. Raises ValueError."""
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


# --- carriers with their own module -----------------------------------------------------------------------------------


class VoipmsFields(Model):
    """Names of the URL callback's parameters, as written in the URL in the portal."""

    from_: Path = Field(alias="from", default="from")
    to: Path = "to"
    message: Path = "message"
    id: Path = "id"
    date: Path = "date"
    files: Path = "files"


class VoipmsInbound(Hook):
    fields_: VoipmsFields = Field(alias="fields", default_factory=VoipmsFields)


class VoipmsConfig(CarrierOptions):
    """Settings for VoIP.ms; `long_texts` is mms unless `mms` is off."""

    type: Literal["voipms"]
    username: Path
    password: Secret
    url: Url = "https://voip.ms/api/v1/rest.php"
    timeout: Positive = 30.0
    media: Literal["link", "inline"] = "link"
    inbound: VoipmsInbound | None = None
    poll: Positive | None = 6 * 3600.0
    max_text: Annotated[int, Field(ge=0)] = 160
    text_unit: Literal["characters", "septets"] = "characters"
    long_texts: Literal["split", "mms"] = "mms"
    mms: bool = True

    @model_validator(mode="before")
    @classmethod
    def _split_without_mms(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("mms") is False:
            return {"long_texts": "split", **data}
        return data

    @model_validator(mode="after")
    def _long_texts_fit(self) -> VoipmsConfig:
        if self.long_texts == "mms" and not self.mms:
            raise ValueError("`long_texts: mms` needs `mms: true`")
        return self


def _ed25519(value: str) -> str:
    try:
        known = len(b64decode(value, validate=True)) == 32
    except (NotBase64, ValueError):
        known = False
    if not known:
        raise ValueError("expected the public key as the portal shows it: 44 characters of base64")
    return value


class TelnyxConfig(CarrierOptions):
    """Settings for Telnyx and for providers with its API, for 3CX and PortSIP, without `public_key`."""

    type: Literal["telnyx"]
    api_key: Secret
    url: Url = "https://api.telnyx.com"
    path: Annotated[str, Field(pattern=r"^/[!-~]*$")] = "/v2/messages"
    messaging_profile_id: str | None = None
    public_key: Annotated[str, AfterValidator(_ed25519)] | None = None
    timeout: Positive = 30.0
    inbound: Hook | None = None
    mms: bool = True


_SID: Final = Field(pattern="^[A-Za-z0-9-]{8,64}$")


class TwilioConfig(CarrierOptions):
    """Settings for Twilio, and SignalWire by `url`; `signing_key` if the carrier does not sign with the token."""

    type: Literal["twilio"]
    account_sid: Annotated[str, _SID]
    auth_token: Secret | None = None
    api_key_sid: Annotated[str, _SID] | None = None
    api_key_secret: Secret | None = None
    signing_key: Secret | None = None
    url: Url = "https://api.twilio.com"
    messaging_service_sid: Annotated[str, _SID] | None = None
    timeout: Positive = 30.0
    inbound: Hook | None = None
    mms: bool = True

    @model_validator(mode="after")
    def _credentials(self) -> TwilioConfig:
        if (self.api_key_sid is None) != (self.api_key_secret is None):
            raise ValueError("`api_key_sid` and `api_key_secret` go together")
        if self.auth_token is None and self.api_key_sid is None:
            raise ValueError("expected `auth_token`, or `api_key_sid` and `api_key_secret`")
        if self.inbound is not None and self.auth_token is None and self.signing_key is None:
            raise ValueError(
                "`inbound` needs `auth_token` or `signing_key`: they show that it is the carrier who calls"
            )
        return self


class BandwidthInbound(Hook):
    auth: Basic | None = None  # user and password configured in the portal


class BandwidthConfig(CarrierOptions):
    type: Literal["bandwidth"]
    account_id: Annotated[str, Field(pattern="^[A-Za-z0-9-]{1,64}$")]
    auth: Basic
    application_id: Path
    url: Url = "https://messaging.bandwidth.com"
    opt_out_codes: tuple[int, ...] = ()  # error codes that mean that the recipient has opted out
    timeout: Positive = 30.0
    inbound: BandwidthInbound | None = None
    mms: bool = True
