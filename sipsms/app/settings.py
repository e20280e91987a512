"""Configuration: YAML -> frozen, checked models.

Nothing inside sipsms sees a dict of strings: what leaves here has defaults filled in, durations in seconds, addresses
taken apart and secrets resolved. Each room has the models of its own sections.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, BaseModel, Field, PrivateAttr, model_validator

from sipsms.accounts.provisioning_link import Server
from sipsms.accounts.service import ServiceSettings
from sipsms.carriers.settings import (
    BandwidthConfig,
    HttpCarrierConfig,
    LoopbackConfig,
    TelnyxConfig,
    TwilioConfig,
    VoipmsConfig,
)
from sipsms.core import control_socket, store_url
from sipsms.core.admission import Limits
from sipsms.core.listener import connection_limit
from sipsms.core.network import LOOPBACK, is_in
from sipsms.core.validators import (
    DOMAIN,
    AbsolutePath,
    CarrierName,
    Count,
    Domain,
    HttpAddress,
    HttpListen,
    Network,
    Positive,
    Realm,
    SipAddress,
    SipListen,
    SmppAddress,
    TimeZone,
    http_url,
    literals,
    some_once,
    store_url_of,
)
from sipsms.core.yaml_file import ConfigError, Document, Model
from sipsms.mail.settings import Smtp
from sipsms.messaging.settings import MessageSettings, PolicySettings, QueueSettings
from sipsms.routing import rules_file
from sipsms.routing.dialplan import Dialplan
from sipsms.sip.settings import HepSettings, SipSettings
from sipsms.sip.trunk_settings import SipConfig
from sipsms.smpp.settings import SmppConfig, SmppSettings
from sipsms.web.settings import CallbackSettings, CentreSettings

# --- sipsms.yaml -----------------------------------------------------------------------------------------------------


class Listen(Model):
    sip: tuple[SipAddress, ...] = (SipListen("udp", "0.0.0.0", 5060), SipListen("tcp", "0.0.0.0", 5060))
    http: HttpAddress = HttpListen("127.0.0.1", 8080)
    smpp: tuple[SmppAddress, ...] = ()


class Connections(Model):
    """Connections that others open, by SIP, SMPP and HTTP together."""

    per_address: Count = 100
    per_site: Count = 1000
    total: Count | None = None
    message_timeout: Positive = 10.0

    @property
    def limits(self) -> Limits:
        return Limits(self.per_address, self.per_site, self.total or connection_limit(), self.message_timeout)


class Tls(Model):
    certificate: AbsolutePath
    key: AbsolutePath


class Trace(Model):
    hep: HepSettings | None = None


class Web(Model):
    url: Annotated[str, AfterValidator(http_url)] | None = None
    centre: CentreSettings = CentreSettings()


class Media(Model):
    """Parts of MMS."""

    directory: AbsolutePath | None = None
    keep: Positive = 90 * 86400.0


class Api(Model):
    daily_sends: Annotated[int, Field(ge=0)] = 100
    per_minute: Annotated[int, Field(ge=0)] = 600
    originate_length: Annotated[int, Field(ge=1, le=2048)] = 300
    timezone: TimeZone = "America/New_York"
    trusted_proxies: tuple[Network, ...] = ("127.0.0.1", "::1")
    metrics_from: tuple[Network, ...] = (
        "127.0.0.0/8", "::1", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7",
    )  # fmt: skip
    acrobits_push: Annotated[str, AfterValidator(http_url)] | None = "https://pnm.cloudsoftphone.com/pnm2/send"


class Log(Model):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class Config(Model):
    domain: Domain
    aliases: tuple[Domain, ...] = ()
    realm: Realm = ""
    store: Annotated[str, AfterValidator(store_url_of)] = Field(store_url.DEFAULT, repr=False)
    listen: Listen = Listen()
    digest: Annotated[tuple[Literal["md5", "sha-256"], ...], AfterValidator(some_once)] = ("md5",)
    tls: Tls | None = None
    connections: Connections = Connections()
    sip: SipSettings = SipSettings()
    messages: MessageSettings = MessageSettings()
    queue: QueueSettings = QueueSettings()
    dialplan: str | None = None
    log: Log = Log()
    trace: Trace = Trace()
    web: Web = Web()
    smtp: Smtp | None = None
    callbacks: CallbackSettings = CallbackSettings()
    media: Media = Media()
    policy: PolicySettings = PolicySettings()
    api: Api = Api()
    smpp: SmppSettings = SmppSettings()
    carriers: dict[CarrierName, CarrierConfig] = Field(default_factory=dict)

    _directory: Path = PrivateAttr(default=Path())

    @model_validator(mode="before")
    @classmethod
    def _realm_is_the_domain(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("realm") is not None:
            return data
        domain = data.get("domain")  # a bad one is told about once, as the domain
        realm = domain.lower() if isinstance(domain, str) and DOMAIN.fullmatch(domain) else "-"
        return {**data, "realm": realm}

    @model_validator(mode="after")
    def _certificate_for_tls(self) -> Config:
        if self.tls is None and any(one.transport in ("tls", "wss") for one in self.listen.sip):
            raise ValueError("tls:// and wss:// need `tls: {certificate: FILE, key: FILE}`")
        if self.tls is None and any(one.tls for one in self.listen.smpp):
            raise ValueError("ssmpp:// needs `tls: {certificate: FILE, key: FILE}`")
        return self

    def model_post_init(self, context: Any, /) -> None:
        self._directory = Path((context or {}).get("directory", "."))

    @property
    def store_url(self) -> str:
        """Return the store's URL for SQLAlchemy."""
        return store_url.absolute(self.store, self._directory)

    @property
    def base_url(self) -> str:
        """Return the URL by which this server is reached from outside."""
        if self.web.url is not None:
            return self.web.url.rstrip("/")
        port = self.listen.http.port if self.listen.http is not None else 80
        return f"http://{self.domain}:{port}"

    @property
    def centre_url(self) -> str | None:
        """Return the URL at which people find the message centre; None: it is off.

        Without a public URL, a listener on loopback is named by its address: nobody else can open it."""
        http = self.listen.http
        if http is None or not self.web.centre.enabled:
            return None
        if self.web.centre.url is not None:
            return self.web.centre.url.rstrip("/")
        host = f"[{http.host}]" if ":" in http.host else http.host
        is_local = self.web.url is None and is_in(http.host, LOOPBACK)
        return f"http://{host}:{http.port}" if is_local else self.base_url

    @property
    def media_folder(self) -> Path:
        """Return the folder for parts of MMS: beside an SQLite store, unless `media.directory` names one."""
        if self.media.directory is not None:
            return self.media.directory
        if self.store_url.startswith("sqlite:///"):
            return Path(self.store_url.removeprefix("sqlite:///")).parent / "media"
        return Path("/var/lib/sipsms/media")

    @property
    def dialplan_directory(self) -> Path | None:
        """Return the folder of the dialplan's files; None: the built-in rules."""
        if self.dialplan is not None:
            return self._directory / self.dialplan
        places = (self._directory / "../dialplan", self._directory / "dialplan")
        return next((place for place in places if place.is_dir()), None)

    @property
    def service(self) -> ServiceSettings:
        """The part that changes to accounts depend on."""
        return ServiceSettings(self.realm, self.callbacks.allow_private, self.queue.keep, self.for_phones)

    @property
    def for_phones(self) -> Server:
        """The part that a phone needs to set itself up."""
        ports: dict[str, int] = {}
        for one in self.listen.sip:
            ports.setdefault(one.transport, one.port)
        http = self.listen.http
        url = self.web.url or (f"http://{self.domain}:{http.port}" if http is not None else None)
        return Server(self.domain, self.realm, ports, self.sip.default_expires, url)


def load(path: Path, *, secrets: bool = True) -> Config:
    """Return the configuration. `secrets`: False for what needs none of them (see `Document.validate`).

    Raises ConfigError with all that is wrong."""
    document = Document.read(path)
    config = document.validate(Config, secrets=secrets)
    directory = config.dialplan_directory
    if directory is not None and not directory.is_dir():
        raise ConfigError([document.error(("dialplan",), f"{directory} is no directory")])
    return config


def load_dialplan(config: Config) -> Dialplan:
    """Raises ConfigError."""
    weights = {name: one.weight for name, one in config.carriers.items()}
    return rules_file.load(config.dialplan_directory, list(config.carriers), weights)


CarrierConfig = Annotated[
    LoopbackConfig
    | SipConfig
    | SmppConfig
    | HttpCarrierConfig
    | VoipmsConfig
    | TelnyxConfig
    | TwilioConfig
    | BandwidthConfig,
    Field(discriminator="type"),
]

MIN_SECRET: Final = 16

_SIGNING: Final = ("public_key", "auth_token", "signing_key")  # of the carrier; of its hook: auth, signature


def literal_secrets(document: Document) -> list[str]:
    """Return a line for each carrier secret that stands in the file itself; headers and `fields` may have others."""
    carriers = document.data.get("carriers") if isinstance(document.data, dict) else None
    found = [where for name, one in _items(carriers) for where in literals(_model_of(one), one, ("carriers", name))]
    return [
        document.error(where, "the secret stands in the file: env:NAME or file:PATH keeps it out") for where in found
    ]


def short_secrets(carriers: Mapping[str, Any]) -> list[str]:
    """Return a line for each carrier without signatures whose hook secret, its only key, could be guessed."""
    found = []
    for name, one in carriers.items():
        inbound = getattr(one, "inbound", None)
        secret = inbound.secret.get_secret_value() if inbound is not None else "-" * MIN_SECRET
        signs = any(getattr(where, key, None) for where in (one, inbound) for key in _SIGNING)
        if len(secret) < MIN_SECRET and not signs:
            found.append(
                f"carriers.{name}.inbound.secret: shorter than {MIN_SECRET} characters, and it is the only key"
            )
    return found


def _items(value: object) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _model_of(carrier: object) -> type[BaseModel] | None:
    kind = carrier.get("type") if isinstance(carrier, dict) else None
    models: tuple[type[BaseModel], ...] = get_args(get_args(CarrierConfig)[0])
    return next((one for one in models if kind in get_args(one.model_fields["type"].annotation)), None)


def path_of(config: Config) -> Path:
    """Return the path of the control socket."""
    return control_socket.path_for(config.store_url, repr(config.listen.sip))
