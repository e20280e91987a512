"""JSON bodies of requests and answers, as documented in OpenAPI.

Request bodies are strict: a number is not accepted as a text, and an unknown field is an error, because it is probably
a mistake of the client.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

Item = TypeVar("Item")

TIME: Final = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$"
NAME: Final = r"^[A-Za-z0-9._-]{1,64}$"


def iso(when: Any) -> Any:
    """Return a time in seconds since the epoch as RFC 3339 text; other values unchanged."""
    if not isinstance(when, (int, float)):
        return when
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Time = Annotated[str, BeforeValidator(iso)]
GivenTime = Annotated[str, StringConstraints(pattern=TIME, max_length=40)]
Number = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Name = Annotated[str, StringConstraints(pattern=NAME)]
Word = Annotated[str, StringConstraints(max_length=64)]
Password = Annotated[
    str, StringConstraints(min_length=1, max_length=128, pattern=r"^[ -~\u00a0-\u2027\u202a-\ud7ff]+$")
]
Url = Annotated[str, StringConstraints(max_length=2048)]
Secret = Annotated[str, StringConstraints(max_length=512)]


class Given(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Shown(BaseModel):
    model_config = ConfigDict(populate_by_name=True)


class Page(BaseModel, Generic[Item]):
    items: list[Item]
    next: str | None = Field(None, description="Give it as `cursor` for the next page; null: there is none")


class Fault(BaseModel):
    field: str
    message: str


class ProblemBody(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[Fault] = []


# --- messages --------------------------------------------------------------------------------------------------------


class MediaGiven(Given):
    """A file: either its URL or its bytes in base64."""

    url: Url = ""
    data: Annotated[str, StringConstraints(max_length=2_000_000)] = ""
    name: Annotated[str, StringConstraints(max_length=255)] = ""


class MessageGiven(Given):
    from_: Annotated[Word, Field(alias="from", description="One of your numbers; else the account's caller ID")] = ""
    to: Annotated[str, StringConstraints(max_length=64)]
    text: Annotated[str, StringConstraints(max_length=4096)] = ""
    media: Annotated[list[MediaGiven], Field(max_length=3)] = []
    account: Annotated[Word, Field(description="Who sends; else the owner of `from`")] = ""
    send_at: Annotated[GivenTime | None, Field(description="Not before; at most a year from now")] = None


class MessageAccepted(BaseModel):
    id: int
    state: Literal["accepted"]
    from_: str = Field(alias="from")
    to: str
    encoding: Literal["gsm7", "ucs2"]
    segments: int


class MediaShown(Shown):
    content_type: str
    name: str
    size: int
    path: str = Field(description="Where it can be had; empty while it has not been fetched from the carrier")


class Attempt(Shown):
    number: int
    started_at: Time
    ended_at: Time | None
    outcome: str
    detail: str


class DeliveryShown(Shown):
    courier: str
    destination: str
    device: int
    state: str
    attempts: int
    last_error: str


class DeliveryWhole(DeliveryShown):
    id: int
    due_at: Time | None
    expires_at: Time | None
    tries: list[Attempt]


class MessageShown(Shown):
    id: int
    direction: Literal["in", "out"]
    from_: str = Field(alias="from")
    to: str
    text: str
    media: list[MediaShown]
    state: str = Field(description="The best state of its deliveries, or of a text in several segments the worst")
    delivered_count: int = Field(
        description="Deliveries that are delivered: of an incoming message, devices and others"
    )
    delivery_count: int = Field(description="All its deliveries, without copies to others than its receiver")
    created_at: str
    account: str
    carrier: str
    carrier_id: str
    encoding: Literal["gsm7", "ucs2"]
    segments: int
    deliveries: list[DeliveryShown]


class MessageWhole(MessageShown):
    origin: str
    deliveries: list[DeliveryWhole]  # type: ignore[assignment]


class Conversation(Shown):
    did: str
    contact: str
    last_id: int
    last_at: Time
    last_direction: Literal["in", "out"]
    last_text: str
    received: int
    sent: int


class Incoming(Given):
    from_: Annotated[Number, Field(alias="from")]
    to: Number
    text: Annotated[str, StringConstraints(max_length=4096)]


class Stored(BaseModel):
    id: int


class Count(BaseModel):
    count: int


class Explained(BaseModel):
    routes: list[str]
    trace: list[str]
    refused: str | None


# --- accounts, numbers -----------------------------------------------------------------------------------------------


class AccountGiven(Given):
    name: Name
    password: Password
    parent: Annotated[Word, Field(description="The customer, for a subaccount")] = ""
    caller_id: Word = ""


class AccountChange(Given):
    """Settings to change.

    An absent or null setting stays as it is. Some settings need a wider scope."""

    caller_id: Word | None = None
    enabled: bool | None = None
    legacy_digest: bool | None = None
    presence: bool | None = None
    copies: bool | None = None
    reply_from_thread: Annotated[bool | None, Field(description="Answer from the DID that the peer last wrote to")] = (
        None
    )
    bulk: bool | None = None
    shorteners: bool | None = None
    app_messages: Annotated[bool | None, Field(description="An app fetches its messages; none by SIP")] = None
    email: Annotated[str, StringConstraints(max_length=254)] | None = None
    reseller: Word | None = None
    api_daily_limit: (
        Annotated[int, Field(ge=-1, le=999_999_999, description="0: any number; -1: as configured")] | None
    ) = None
    api_allow_ip: Annotated[str, StringConstraints(max_length=1024)] | None = None
    smpp_rate: (
        Annotated[int, Field(ge=-1, le=999_999_999, description="Messages a second; 0: any; -1: as configured")] | None
    ) = None


class AccountShown(Shown):
    name: str
    customer: str
    subaccount: bool
    caller_id: str
    enabled: bool
    legacy_digest: bool
    presence: bool
    copies: bool
    reply_from_thread: bool
    bulk: bool
    shorteners: bool
    app_messages: bool
    api: bool = Field(description="Has an API password")
    api_daily_limit: int | None
    smpp_rate: int | None
    api_allow_ip: str
    email: str
    reseller: str


class PasswordGiven(Given):
    password: Password


class SecretShown(BaseModel):
    """A new secret, shown only once."""

    name: str
    secret: str


class ProvisionGiven(Given):
    password: Annotated[Password | None, Field(description="Its own; without it, it gets a new one")] = None
    transport: Literal["udp", "tcp", "tls"] | None = None
    server: Annotated[
        str | None,
        Field(pattern=r"^[A-Za-z0-9._:\[\]-]{1,255}$", description="HOST[:PORT] to connect to, if not the domain"),
    ] = None
    url: Annotated[
        str | None, Field(pattern=r"^https?://[!-~]{1,500}$", description="Where the links lead, if not to `web.url`")
    ] = None
    cloud_id: Annotated[
        str | None, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Of Acrobits' Cloud Softphone, for `code`")
    ] = None
    hours: Annotated[int, Field(ge=1, le=720)] = 24
    fetches: Annotated[int, Field(ge=1, le=1000)] = 5


class Provisioned(BaseModel):
    account: str
    linphone: str
    acrobits: str
    code: str
    expires_at: Time
    fetches: int
    domain: str
    server: str
    transport: str
    password: str | None = None


class DidGiven(Given):
    number: Number
    account: Name
    sip_account: Annotated[Word | None, Field(description="Else the customer; empty: nobody")] = None
    sms: bool = True


class DidChange(Given):
    """Settings to change.

    An absent or null setting stays as it is; an empty destination is removed."""

    account: Name | None = None
    sip_account: Word | None = None
    sms: bool | None = None
    mms: bool | None = None
    dialing_mode: Literal["", "nanpa", "e164"] | None = None
    group: Word | None = None
    emails: Annotated[list[Annotated[str, StringConstraints(max_length=254)]], Field(max_length=20)] | None = None
    forward: Word | None = None
    callback: Url | None = None
    callback_retry: bool | None = None
    webhook: Url | None = None
    bearer: Annotated[Secret | None, Field(description="Sent to the webhook; never shown")] = None
    webhook_secret: Annotated[Secret | None, Field(description="Signs what is sent; never shown")] = None
    smpp: Annotated[bool | None, Field(description="false keeps its settings")] = None
    smpp_username: Annotated[Word | None, Field(description="Empty: the customer's name")] = None
    smpp_password: Annotated[Word | None, Field(description="By which the customer's program binds; never shown")] = (
        None
    )
    smpp_url: Annotated[Url | None, Field(description="The customer's server: smpp:// or ssmpp://")] = None


class DidShown(Shown):
    number: str
    account: str
    sip_account: str
    sms: bool
    mms: bool
    dialing_mode: str
    group: str
    emails: list[str]
    forward: str
    callback: str
    callback_retry: bool
    webhook: str
    webhook_bearer: bool = Field(description="A bearer token is sent along")
    webhook_signed: bool
    smpp: bool
    smpp_username: str = Field(description="By which the customer's program binds")
    smpp_has_password: bool
    smpp_url: str = Field(description="Without its password; given back like this, it stays")


class WebhookShown(Shown):
    did: str
    kind: Literal["callback", "webhook"]
    url: str
    on: bool
    why: str = Field(description="Why it is off")


class GroupGiven(Given):
    members: Annotated[list[Name], Field(min_length=1, max_length=1000)]


class GroupShown(Shown):
    name: str
    account: str
    members: list[str]


class TokenGiven(Given):
    name: Name
    scope: Literal["operator", "reseller", "customer", "did"] = "customer"
    account: Annotated[Word, Field(description="Whose it is; else the caller's own")] = ""
    did: Word = ""
    expires_at: GivenTime | None = None


class TokenShown(Shown):
    name: str
    account: str
    scope: str
    did: str
    created_at: Time
    expires_at: Time | None


class BlockGiven(Given):
    owner: Annotated[Number, Field(description="A DID, a customer, or * for everybody")]
    number: Number
    direction: Literal["in", "out", "both"] = "both"


class BlockShown(Shown):
    owner: str
    number: str
    direction: str
    reason: str
    created_at: Time


# --- phones, carriers, queue, usage -----------------------------------------------------------------------------------


class DeviceShown(Shown):
    device: int
    account: str
    key: str
    user_agent: str
    registered: bool
    waiting: int
    last_seen: Time


class RegistrationShown(Shown):
    account: str
    contact: str
    received: str
    device: int
    user_agent: str
    expires_in: int


class CarrierShown(Shown):
    name: str
    type: str
    state: str
    why: str
    paused: bool
    waiting: int
    rate: float
    limit: float | None
    counts: dict[str, Any]


class BindShown(Shown):
    node: str
    direction: Literal["in", "out"] = Field(description="in: bound to us; out: we are bound there")
    name: str = Field(description="The system_id; or carrier:NAME, or the DID, of what we are bound to")
    account: str
    peer: str
    mode: str
    tls: bool
    state: str
    since: Time
    sent: int
    received: int
    why: str


class QueueShown(Shown):
    delivery: int
    message: int
    courier: str
    destination: str
    device: int
    state: str
    attempts: int
    due_at: Time | None
    expires_at: Time
    last_error: str


class DeadShown(Shown):
    delivery: int
    message: int
    did: str
    from_: str = Field(alias="from")
    courier: str
    destination: str
    state: str
    attempts: int
    last_error: str
    created_at: Time


class Day(Shown):
    day: str
    sends: int


class UsageShown(Shown):
    account: str
    today: int
    limit: int = Field(description="Sends a day by the APIs; 0: any number")
    days: list[Day]


class Me(Shown):
    token: str
    scope: str
    account: str
    did: str
