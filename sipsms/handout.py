"""`sipsms subaccount provision`: makes a link for a phone, and shows it as text, QR code and fields to type."""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import segno
from sqlalchemy import Connection

from sipsms.config import Config
from sipsms.core.ha1 import ha1
from sipsms.provisioning import TRANSPORTS, Settings, cloud_code, link, server_of
from sipsms.store import accounts, provisioning_links
from sipsms.store.accounts import AdminError, Hashes

_LETTERS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # none that looks like another


@dataclass(frozen=True, slots=True)
class Order:
    """What the operator asked for."""

    name: str
    password: str | None  # None: make a new one
    transport: str | None  # None: the best that the server listens for
    server: str | None  # None: the domain
    url: str | None  # None: as configured
    lasts: float  # seconds
    fetches: int
    cloud_id: str | None


@dataclass(frozen=True, slots=True)
class Handout:
    settings: Settings
    is_new: bool  # the password was made now
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
        """What the QR codes say."""
        if not self.cloud_id:
            return self.links
        code = cloud_code(self.settings.name, self.settings.domain, self.token, self.cloud_id)
        return {**self.links, "acrobits": code}


def issue(config: Config, connection: Connection, order: Order, now: float) -> Handout:
    """Make the link; with it a password, if none is given. Raises AdminError."""
    row = accounts.account(connection, order.name)
    if row is None:
        raise AdminError(f"no account {order.name}")
    is_new = order.password is None
    password = order.password if order.password is not None else _new_password()
    hashes = Hashes(
        ha1(order.name, config.realm, password), ha1(order.name, config.realm, password, "SHA-256"), config.realm
    )
    if is_new:
        accounts.set_password(connection, order.name, hashes)
    elif not secrets.compare_digest(hashes.sha256, row.ha1_sha256):
        raise AdminError(f"that is not the password of {order.name}")
    settings = _settings(config, order, password)
    token = secrets.token_urlsafe(24)
    base = order.url or config.web.url or _own_url(config)
    sealed = {key: value for key, value in settings._asdict().items() if key not in ("name", "services")}
    provisioning_links.create(connection, token, order.name, sealed, now + order.lasts, order.fetches)
    return Handout(settings, is_new, base, token, now + order.lasts, order.fetches, order.cloud_id)


def _new_password() -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(16))


def _settings(config: Config, order: Order, password: str) -> Settings:
    ports: dict[str, int] = {}
    for one in config.listen.sip:
        ports.setdefault(one.transport, one.port)
    transport = order.transport or next((name for name in reversed(TRANSPORTS) if name in ports), "")
    if not order.server and transport not in ports:
        wanted = transport or " or ".join(TRANSPORTS)
        raise AdminError(f"listen.sip has no {wanted}://; name what phones reach with --server HOST:PORT")
    server = order.server or server_of(config.domain, ports[transport], transport)
    expires = config.sip.default_expires
    return Settings(order.name, password, config.domain, config.realm, transport or "udp", server, expires)


def _own_url(config: Config) -> str:
    http = config.listen.http
    if http is None:
        raise AdminError("listen.http is null: phones cannot fetch anything")
    return f"http://{config.domain}:{http.port}"


# --- how it is shown -------------------------------------------------------------------------------------------------


def show(handout: Handout, as_json: bool, echo: Callable[[str], None], app: str, picture: Path | None) -> None:
    """On the terminal; and the QR code of `app` as a picture, if a file for it is named. Raises OSError."""
    if handout.base.startswith("http:"):
        print(f"sipsms: {handout.base} is not encrypted: who listens gets the password; see `web.url`", file=sys.stderr)
    if picture is not None:
        _save(handout, app, picture)
    if as_json:
        echo(json.dumps(facts(handout), ensure_ascii=False))
        return
    until = datetime.fromtimestamp(handout.expires_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    for app, title in (("linphone", "Linphone"), ("acrobits", "Groundwire, Acrobits Softphone")):
        echo(f"{title}: {handout.links[app]}\n\n{_in_terminal(handout.codes[app])}")
    echo(f"Good until {until}, {handout.fetches} times in all. By hand:\n")
    for name, value in {**handout.settings.fields, "password": _password(handout)}.items():
        echo(f"  {name:<24} {value}")


def facts(handout: Handout) -> dict[str, Any]:
    facts = {
        "account": handout.settings.name, **handout.links, "code": handout.codes["acrobits"],
        "expires_at": handout.expires_at, "fetches": handout.fetches, "domain": handout.settings.domain,
        "server": handout.settings.server, "transport": handout.settings.transport,
    }  # fmt: skip
    return {**facts, "password": handout.settings.password} if handout.is_new else facts


def _password(handout: Handout) -> str:
    return handout.settings.password if handout.is_new else "(as it was)"


def _in_terminal(text: str) -> str:
    """Two modules a character. On a terminal black on white, whatever its colours are."""
    out = io.StringIO()
    segno.make(text, error="m", micro=False).terminal(out=out, compact=True, border=2)
    lines = out.getvalue().splitlines()
    if sys.stdout.isatty():
        lines = [f"\x1b[97;40m{line}\x1b[0m" for line in lines]
    return "\n".join(lines) + "\n"


def _save(handout: Handout, app: str, path: Path) -> None:
    """As PNG or SVG, for our own eyes: who has it has the password."""
    out = io.BytesIO()
    kind = "svg" if path.suffix.lower() == ".svg" else "png"
    segno.make(handout.codes[app], error="m", micro=False).save(out, kind=kind, scale=8)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        with contextlib.suppress(OSError):
            os.fchmod(file.fileno(), 0o600)  # of a file that was there
        file.write(out.getvalue())
