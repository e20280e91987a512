"""Types of values in YAML files: durations, addresses, secrets, names.

A secret's value must never appear in an error or a repr."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Final, Literal, cast, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, PlainValidator, SecretStr, ValidationInfo

from sipsms.core.quantities import duration, rate
from sipsms.core.segmentation import CHARSETS, Charset
from sipsms.core.smpp_url import SmppUrl, smpp_url

DOMAIN: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9a-fA-F:.]{2,45}\]")
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")  # RFC 9110 section 5.6.2
_CARRIER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
UNKNOWN: Final = SecretStr("unknown")  # stands for a secret that could not be read, where none is needed
_PLACEHOLDERS: Final = ("from", "to", "text", "id", "did", "account")


def _domain(value: str) -> str:
    if not DOMAIN.fullmatch(value) or ".." in value:
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


def some_once(values: tuple[str, ...]) -> tuple[str, ...]:
    """Check that there is at least one value and no value twice. Raises ValueError."""
    if not values or len(set(values)) < len(values):
        raise ValueError("expected at least one, and none twice")
    return values


def _realm(value: str) -> str:
    if not re.fullmatch(r"[ !#-\[\]-~]{1,128}", value):
        raise ValueError("expected 1 to 128 ASCII characters without quotes and backslashes")
    return value


def _resolve(value: object, info: ValidationInfo) -> SecretStr:
    """Return a secret given literally or by `env:`, `file:`. Raises ValueError without its value."""
    if isinstance(value, SecretStr):
        return value
    if not isinstance(value, str):
        raise ValueError("expected env:NAME, file:PATH or the secret itself, in quotes")
    kind, _, name = value.partition(":")
    try:
        secret = _SOURCES[kind](name, _directory_of(info)) if kind in _SOURCES else value
    except ValueError:
        if _needs_secrets(info):
            raise
        return UNKNOWN
    if not secret:
        raise ValueError("the secret is empty")
    if any(ord(c) < 32 or ord(c) == 127 for c in secret):
        raise ValueError("the secret has control characters or more than one line")
    return SecretStr(secret)


def _needs_secrets(info: ValidationInfo) -> bool:
    """Return False for a command that needs no secrets: those of the server's environment are missing in a shell."""
    return bool((info.context or {}).get("secrets", True))


def _directory_of(info: ValidationInfo) -> Path:
    """Return the directory of the file, from which its relative paths start."""
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


@dataclass(frozen=True, slots=True)
class SmppListen:
    tls: bool
    host: str
    port: int  # 0: any free port


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


def _smpp_listen(value: object) -> SmppListen:
    scheme, host, port = _address(value, ("smpp", "ssmpp"))
    return SmppListen(scheme == "ssmpp", host, port)


def _server_url(value: object, info: ValidationInfo) -> SmppUrl:
    """Return the address of an SMPP server; its whole text is secret because of its password."""
    if not isinstance(value, str):
        raise ValueError("expected smpp://[user:password@]host[:port], or ssmpp:// for TLS")
    url = _resolve(value, info)
    return smpp_url("smpp://unknown:unknown@unknown.invalid" if url is UNKNOWN else url.get_secret_value())


def http_url(value: str) -> str:
    url = urlsplit(value)  # raises ValueError for a broken [address]
    if url.scheme not in ("http", "https") or not url.hostname or not value.isascii() or re.search(r"\s", value):
        raise ValueError("expected http://... or https://... (a host of other letters as xn--...)")
    if "@" in url.netloc:
        raise ValueError("no user or password in the URL: they belong under `auth`")
    return value


def store_url_of(value: str) -> str:
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
    """Return a constant, a template or a secret by reference, also inside lists and mappings."""
    if isinstance(value, dict):
        return {str(key): _field_value(inner, info) for key, inner in value.items()}
    if isinstance(value, list):
        return [_field_value(inner, info) for inner in value]
    if isinstance(value, str):
        return _resolve(value, info) if value.startswith(("env:", "file:")) else _template(value)
    if value is None or isinstance(value, int | float | SecretStr):
        return value
    raise ValueError("expected text, a number, true, false or null (a date goes in quotes)")


def _network(value: str) -> str:
    try:
        return str(ip_network(value, strict=False)) if "/" in value else str(ip_address(value))
    except ValueError:
        raise ValueError("expected an address or a network, as 192.0.2.0/24") from None


def _time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise ValueError("expected the name of a time zone, as America/New_York") from None
    return value


Positive = Annotated[float, BeforeValidator(duration), Field(gt=0)]
Rate = Annotated[float, BeforeValidator(rate)]
Domain = Annotated[str, AfterValidator(_domain)]
Realm = Annotated[str, AfterValidator(_realm)]
Secret = Annotated[SecretStr, BeforeValidator(_resolve)]
PathSecret = Annotated[Secret, AfterValidator(_path_secret)]
SipAddress = Annotated[SipListen, PlainValidator(_sip_listen)]
HttpAddress = Annotated[HttpListen | None, PlainValidator(_http_listen)]
SmppAddress = Annotated[SmppListen, PlainValidator(_smpp_listen)]
SmppServer = Annotated[SmppUrl, PlainValidator(_server_url)]
Charsets = Annotated[
    dict[Annotated[int, Field(ge=0, le=255)], Charset],
    AfterValidator(lambda own: {**CHARSETS, **own}),
    Field(validate_default=True),
]
HeaderName = Annotated[str, AfterValidator(_header_name)]
CarrierName = Annotated[str, AfterValidator(_carrier_name)]
FieldValue = Annotated[object, BeforeValidator(_field_value)]
Count = Annotated[int, Field(ge=1)]
AbsolutePath = Annotated[Path, BeforeValidator(_path)]
Origin = Annotated[str, AfterValidator(_origin)]
Network = Annotated[str, AfterValidator(_network)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]

# --- literal secrets in a file ---------------------------------------------------------------------------------------

Where = tuple[str | int, ...]


def literals(kind: Any, value: object, where: Where) -> Iterator[Where]:
    """Yield the places of literal secrets, by walking types and data in parallel."""
    if kind is SecretStr:
        if isinstance(value, str) and not value.startswith(("env:", "file:")):
            yield where
    elif kind is SmppUrl:
        if isinstance(value, str) and _has_password(value):
            yield where
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            key = field.alias or name
            if isinstance(value, dict) and key in value and key not in ("headers", "fields"):
                yield from literals(field.annotation, value[key], (*where, key))
    else:
        yield from _inside(kind, value, where)


def _has_password(url: str) -> bool:
    try:
        return bool(smpp_url(url).password)
    except ValueError:
        return False


def _inside(kind: Any, value: object, where: Where) -> Iterator[Where]:
    inner = get_args(kind)
    origin = getattr(kind, "__origin__", None)
    if origin is tuple and isinstance(value, list):
        for i, (one, item) in enumerate(zip(inner, value, strict=False)):
            yield from literals(one, item, (*where, i))
    elif origin is dict and isinstance(value, dict):
        for key, item in value.items():
            yield from literals(inner[1], item, (*where, key))
    elif origin not in (tuple, dict):
        for one in inner:
            yield from literals(one, value, where)
