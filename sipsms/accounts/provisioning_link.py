"""Provisioning links: a phone that opens a link sets itself up.

A link is stored with the settings and the password that the phone may fetch. `cli.provision` displays it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sipsms.accounts.directory import Directory
from sipsms.accounts.provisioning import TRANSPORTS, Settings, cloud_code, link, server_of
from sipsms.core.errors import AdminError
from sipsms.core.ha1 import ha1
from sipsms.store import accounts, provisioning_links
from sipsms.store.accounts import Hashes
from sipsms.store.store import Connection, Store

_LETTERS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # without letters that look alike


@dataclass(frozen=True, slots=True)
class Order:
    """The operator's options for a link."""

    name: str
    password: str | None  # None: make a new password
    transport: str | None  # None: the most secure transport that the server listens on
    server: str | None  # None: the domain
    url: str | None  # None: as configured
    lasts: float  # seconds
    fetches: int
    cloud_id: str | None


@dataclass(frozen=True, slots=True)
class Server:
    """The settings of the server that a phone needs."""

    domain: str
    realm: str
    ports: Mapping[str, int]  # by transport, of its first listener
    expires: int  # seconds between registrations
    url: str | None  # our URL for phones; None: there is no HTTP listener


@dataclass(frozen=True, slots=True)
class ProvisioningLink:
    """A link that was made, with the settings it leads to."""

    settings: Settings
    is_new: bool  # the password was made for this link
    base: str
    token: str
    expires_at: float
    fetches: int
    cloud_id: str | None

    @property
    def links(self) -> dict[str, str]:
        return {app: link(self.base, self.token, app) for app in ("linphone", "acrobits")}

    @property
    def codes(self) -> dict[str, str]:
        """The contents of the QR codes."""
        if not self.cloud_id:
            return self.links
        code = cloud_code(self.settings.name, self.settings.domain, self.token, self.cloud_id)
        return {**self.links, "acrobits": code}


def issue(server: Server, connection: Connection, order: Order, now: float) -> ProvisioningLink:
    """Make a link, and a new password if none is given. Raises AdminError."""
    row = accounts.account(connection, order.name)
    is_new = order.password is None
    password = "".join(secrets.choice(_LETTERS) for _ in range(16)) if order.password is None else order.password
    hashes = Hashes.of(order.name, password, server.realm)
    if is_new:
        accounts.set_password(connection, order.name, hashes)
    elif not secrets.compare_digest(hashes.sha256, row.ha1_sha256):
        raise AdminError(f"that is not the password of {order.name}")
    settings = _settings(server, order, password)
    token = secrets.token_urlsafe(24)
    base = order.url or server.url
    if base is None:
        raise AdminError("listen.http is null: phones cannot fetch anything")
    sealed = {key: value for key, value in settings._asdict().items() if key not in ("name", "services")}
    provisioning_links.create(connection, token, order.name, sealed, now + order.lasts, order.fetches)
    return ProvisioningLink(settings, is_new, base, token, now + order.lasts, order.fetches, order.cloud_id)


def _settings(server: Server, order: Order, password: str) -> Settings:
    ports = server.ports
    transport = order.transport or next((name for name in reversed(TRANSPORTS) if name in ports), "")
    if not order.server and transport not in ports:
        wanted = transport or " or ".join(TRANSPORTS)
        raise AdminError(f"listen.sip has no {wanted}://; name what phones reach with --server HOST:PORT")
    address = order.server or server_of(server.domain, ports[transport], transport)
    return Settings(order.name, password, server.domain, server.realm, transport or "udp", address, server.expires)


async def fetch(store: Store, directory: Directory, base_url: str, token: str) -> Settings | None:
    """Return the settings that a phone with this link may have, and use up one fetch. Raises Unavailable.

    `base_url`: how phones reach this server by HTTP."""
    now = time.time()
    if not await store.read(lambda db: provisioning_links.is_there(db, token, now)):
        return None
    fetched = await store.write(lambda db: provisioning_links.take(db, token, now))
    if fetched is None:
        return None
    settings, account = Settings(fetched.account, **fetched.secret), directory.account(fetched.account)
    if account is None or not account.enabled or account.ha1_md5 != ha1(*settings.credentials):
        return None  # the account has another password now
    return settings._replace(services=f"{base_url}/acrobits" if account.app_messages else "")


def facts(made: ProvisioningLink) -> dict[str, Any]:
    """Return the link as `--json` and `/v1` display it."""
    facts = {
        "account": made.settings.name, **made.links, "code": made.codes["acrobits"],
        "expires_at": made.expires_at, "fetches": made.fetches, "domain": made.settings.domain,
        "server": made.settings.server, "transport": made.settings.transport,
    }  # fmt: skip
    return {**facts, "password": made.settings.password} if made.is_new else facts
