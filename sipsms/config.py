"""Configuration: YAML -> frozen, checked models.

Nothing inside sipsms sees a dict of strings: what leaves here has defaults filled in, durations in seconds, addresses
taken apart and secrets resolved. The models below are sipsms.yaml; `document` says what is wrong with a file, by line.
A secret's value is in no error and in no repr. This module reads files; it logs nothing and builds nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from string import Formatter
from typing import Annotated, Any, Final, Literal, cast
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    model_validator,
)

from sipsms.document import ConfigError, Document, Model

# --- kinds of values -------------------------------------------------------------------------------------------------

_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DOMAIN: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9a-fA-F:.]{2,45}\]")
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")  # RFC 9110 section 5.6.2
_CARRIER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_ROOTS: Final = frozenset({"var", "srv", "opt", "home", "tmp", "data", "mnt", "run", "etc", "usr"})
_PLACEHOLDERS: Final = ("from", "to", "text", "id", "did", "account")


def duration(value: object) -> float:
    """`14d`, `5m`, `30s`, `250ms`, or a number of seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e10:
        return float(value)
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"expected a duration like 14d, 5m, 30s or 250ms, got {value!r}")
    return float(match[1]) * _SECONDS[match[2]]


def _domain(value: str) -> str:
    if not _DOMAIN.fullmatch(value) or ".." in value:
        raise ValueError(f"expected a host name or an address, got {value!r}")
    return value.lower()


def _path(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str) or not value:
        raise ValueError("expected the path of a file")
    return (_directory_of(info) / value).absolute()


def _origin(value: str) -> str:
    url = urlsplit(value)
    if value != "*" and (url.scheme not in ("http", "https") or not url.hostname or url.path or url.query):
        raise ValueError("expected an origin like https://phone.example.net, or * for any")
    return value.lower()


def _some_once(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values or len(set(values)) < len(values):
        raise ValueError("expected at least one, and none twice")
    return values


def _realm(value: str) -> str:
    if not re.fullmatch(r"[ !#-\[\]-~]{1,128}", value):
        raise ValueError("expected 1 to 128 ASCII characters without quotes and backslashes")
    return value


def _resolve(value: object, info: ValidationInfo) -> SecretStr:
    """A secret is named (`env:`, `file:`) or stands there itself; its value is never part of an error."""
    if isinstance(value, SecretStr):
        return value
    if not isinstance(value, str):
        raise ValueError("expected env:NAME, file:PATH or the secret itself, in quotes")
    kind, _, name = value.partition(":")
    secret = _SOURCES[kind](name, _directory_of(info)) if kind in _SOURCES else value
    if not secret:
        raise ValueError("the secret is empty")
    if any(ord(c) < 32 or ord(c) == 127 for c in secret):
        raise ValueError("the secret has control characters or more than one line")
    return SecretStr(secret)


def _directory_of(info: ValidationInfo) -> Path:
    """Relative paths in the file start from where the file is: a service's current directory is anybody's guess."""
    return Path((info.context or {}).get("directory", "."))


def _from_environment(name: str, _: Path) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise ValueError(f"the environment has no variable {name}") from None


def _from_file(name: str, directory: Path) -> str:
    try:
        return (directory / name).read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {name}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None


_SOURCES: Final[Mapping[str, Callable[[str, Path], str]]] = {"env": _from_environment, "file": _from_file}


TRANSPORTS: Final = ("udp", "tcp", "tls", "ws", "wss")


@dataclass(frozen=True, slots=True)
class SipListen:
    transport: Literal["udp", "tcp", "tls", "ws", "wss"]
    host: str
    port: int  # 0: any free port


@dataclass(frozen=True, slots=True)
class HttpListen:
    host: str
    port: int


def _address(value: object, schemes: Sequence[str]) -> tuple[str, str, int]:
    expected = f"{'|'.join(schemes)}://HOST:PORT"
    problem = ValueError(f"expected {expected}, got {value!r}")
    try:
        url = urlsplit(value) if isinstance(value, str) else urlsplit("")
        host, port = url.hostname, url.port
    except ValueError:
        raise problem from None
    if url.scheme not in schemes or not host or port is None or "@" in url.netloc:
        raise problem
    if url.path not in ("", "/") or url.query or url.fragment:
        raise problem
    return url.scheme, host, port


def _sip_listen(value: object) -> SipListen:
    scheme, host, port = _address(value, TRANSPORTS)
    return SipListen(cast(Any, scheme), host, port)


def _http_listen(value: object) -> HttpListen | None:
    if value is None:
        return None
    _, host, port = _address(value, ("http",))
    return HttpListen(host, port)


def _http_url(value: str) -> str:
    url = urlsplit(value)  # raises ValueError for a broken [address]
    if url.scheme not in ("http", "https") or not url.hostname or not value.isascii() or re.search(r"\s", value):
        raise ValueError("expected http://... or https://... (a host of other letters as xn--...)")
    if "@" in url.netloc:
        raise ValueError("no user or password in the URL: they belong under `auth`")
    return value


def _store_url(value: str) -> str:
    if not re.match(r"sqlite:///.|postgresql(\+psycopg)?://.", value):
        raise ValueError("expected sqlite:///PATH or postgresql://USER@HOST/DATABASE")
    return value


def _header_name(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise ValueError("not a header name")
    return value


def _carrier_name(value: str) -> str:
    if value == "all":
        raise ValueError("routing.yaml says `all` for every carrier: take another name")
    if not _CARRIER_NAME.fullmatch(value):
        raise ValueError("a carrier's name is 1 to 32 letters, digits, _ and -: it stands in the hook's path")
    return value


def _path_secret(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[A-Za-z0-9._~-]+", value.get_secret_value()):
        raise ValueError("stands in the hook's path: only letters, digits and . _ ~ - fit there")
    return value


def _template(value: str) -> str:
    for _, name, spec, conversion in Formatter().parse(value):  # raises ValueError for a lone brace
        if name is not None and (name not in _PLACEHOLDERS or spec or conversion):
            known = " ".join(f"{{{p}}}" for p in _PLACEHOLDERS)
            raise ValueError(f"unknown placeholder {{{name}}}; known are {known}, and {{{{ for a brace")
    return value


def _field_value(value: object, info: ValidationInfo) -> object:
    """A constant, a template, a named secret, or any of them inside lists and mappings."""
    if isinstance(value, dict):
        return {str(key): _field_value(inner, info) for key, inner in value.items()}
    if isinstance(value, list):
        return [_field_value(inner, info) for inner in value]
    if isinstance(value, str):
        return _resolve(value, info) if value.startswith(("env:", "file:")) else _template(value)
    if value is None or isinstance(value, int | float | SecretStr):
        return value
    raise ValueError("expected text, a number, true, false or null (a date goes in quotes)")


Positive = Annotated[float, BeforeValidator(duration), Field(gt=0)]
Domain = Annotated[str, AfterValidator(_domain)]
Realm = Annotated[str, AfterValidator(_realm)]
Secret = Annotated[SecretStr, BeforeValidator(_resolve)]
PathSecret = Annotated[Secret, AfterValidator(_path_secret)]
SipAddress = Annotated[SipListen, PlainValidator(_sip_listen)]
HttpAddress = Annotated[HttpListen | None, PlainValidator(_http_listen)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
CarrierName = Annotated[str, AfterValidator(_carrier_name)]
FieldValue = Annotated[object, BeforeValidator(_field_value)]
Count = Annotated[int, Field(ge=1)]
AbsolutePath = Annotated[Path, BeforeValidator(_path)]
Origin = Annotated[str, AfterValidator(_origin)]


# --- sipsms.yaml -----------------------------------------------------------------------------------------------------


class Listen(Model):
    sip: tuple[SipAddress, ...] = (SipListen("udp", "0.0.0.0", 5060), SipListen("tcp", "0.0.0.0", 5060))
    http: HttpAddress = HttpListen("127.0.0.1", 8080)


class Sip(Model):
    min_expires: Count = 60
    max_expires: Count = 7200
    default_expires: Count = 3600
    max_contacts: Count = 10
    nonce_lifetime: Positive = 300.0
    nonce_secret: Secret | None = None
    max_connections_per_address: Count = 100
    first_message_timeout: Positive = 5.0
    handshake_timeout: Positive = 10.0
    idle_timeout: Positive = 180.0
    max_datagram: Annotated[int, Field(ge=200, le=65535)] = 1300
    advertised: Domain | None = None
    websocket_origins: tuple[Origin, ...] = ()
    flood_limit: Annotated[int, Field(ge=0)] = 100
    scanners: Literal["drop", "answer"] = "drop"

    @model_validator(mode="after")
    def _in_order(self) -> Sip:
        if not self.min_expires <= self.default_expires <= self.max_expires:
            raise ValueError("expected min_expires <= default_expires <= max_expires")
        return self


class Tls(Model):
    certificate: AbsolutePath
    key: AbsolutePath


class Hep(Model):
    """A capture server (Homer, sngrep -L, heplify) that gets a copy of every SIP message."""

    host: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(ge=1, le=65535)] = 9060
    id: Annotated[int, Field(ge=1, le=2**32 - 1)] = 2001
    password: Secret | None = None


class Trace(Model):
    hep: Hep | None = None


class Web(Model):
    url: Annotated[str, AfterValidator(_http_url)] | None = None


class Messages(Model):
    max_length: Count = 160
    length_unit: Literal["characters", "septets", "bytes"] = "characters"
    copy_prefix: Annotated[str, Field(max_length=40)] = "Me: "


class Queue(Model):
    keep: Positive = 14 * 86400.0
    device_memory: Positive = 30 * 86400.0
    sip_concurrency: Count = 1000
    carrier_concurrency: Count = 32
    retry_min: Positive = 5.0
    retry_max: Positive = 300.0

    @model_validator(mode="after")
    def _in_order(self) -> Queue:
        if self.retry_min > self.retry_max:
            raise ValueError("expected retry_min <= retry_max")
        return self


class Log(Model):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


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


class LoopbackConfig(Model):
    type: Literal["loopback"]


_FIELDS: Final[Mapping[str, object]] = {"from": "{from}", "to": "{to}", "text": "{text}"}


class HttpCarrierConfig(Model):
    type: Literal["http"]
    url: Annotated[str, AfterValidator(_http_url)]
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


class Config(Model):
    domain: Domain
    aliases: tuple[Domain, ...] = ()
    realm: Realm = ""
    store: Annotated[str, AfterValidator(_store_url)] = Field("sqlite:///var/lib/sipsms/sipsms.db", repr=False)
    listen: Listen = Listen()
    digest: Annotated[tuple[Literal["md5", "sha-256"], ...], AfterValidator(_some_once)] = ("md5",)
    tls: Tls | None = None
    sip: Sip = Sip()
    messages: Messages = Messages()
    queue: Queue = Queue()
    dialplan: str | None = None
    log: Log = Log()
    trace: Trace = Trace()
    web: Web = Web()
    carriers: dict[CarrierName, CarrierConfig] = Field(default_factory=dict)

    _directory: Path = PrivateAttr(default=Path())

    @model_validator(mode="before")
    @classmethod
    def _realm_is_the_domain(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("realm") is not None:
            return data
        domain = data.get("domain")  # a bad one is told about once, as the domain
        realm = domain.lower() if isinstance(domain, str) and _DOMAIN.fullmatch(domain) else "-"
        return {**data, "realm": realm}

    @model_validator(mode="after")
    def _certificate_for_tls(self) -> Config:
        if self.tls is None and any(one.transport in ("tls", "wss") for one in self.listen.sip):
            raise ValueError("tls:// and wss:// need `tls: {certificate: FILE, key: FILE}`")
        return self

    def model_post_init(self, context: Any, /) -> None:
        self._directory = Path((context or {}).get("directory", "."))

    @property
    def store_url(self) -> str:
        """The store as SQLAlchemy is to be told.

        `sqlite:///var/lib/...` is relative in SQLAlchemy's eyes and absolute in everybody else's; see etc/sipsms.yaml.
        """
        path = PurePosixPath(self.store.removeprefix("sqlite:///"))
        if not self.store.startswith("sqlite:///") or path.is_absolute() or str(path) == ":memory:":
            return self.store
        base = Path("/") if path.parts[0] in _ROOTS else self._directory.absolute()
        return f"sqlite:///{base / path}"

    @property
    def dialplan_directory(self) -> Path | None:
        """Where the dialplan's files are; None: the built-in rules."""
        if self.dialplan is not None:
            return self._directory / self.dialplan
        places = (self._directory / "../dialplan", self._directory / "dialplan")
        return next((place for place in places if place.is_dir()), None)


def load(path: Path) -> Config:
    """Raises ConfigError with all that is wrong."""
    document = Document.read(path)
    config = document.validate(Config)
    directory = config.dialplan_directory
    if directory is not None and not directory.is_dir():
        raise ConfigError([document.error(("dialplan",), f"{directory} is no directory")])
    return config
