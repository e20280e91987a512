"""Output of `sipsms account provision`: a link as text, QR code and settings to type."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import segno

from sipsms.accounts.provisioning_link import ProvisioningLink, facts
from sipsms.cli.base import json_line


def show(made: ProvisioningLink, as_json: bool, echo: Callable[[str], None], app: str, picture: Path | None) -> None:
    """Print a link, and save the QR code of `app` if a file is named. Raises OSError."""
    if made.base.startswith("http:"):
        print(f"sipsms: {made.base} is not encrypted: who listens gets the password; see `web.url`", file=sys.stderr)
    if picture is not None:
        _save(made, app, picture)
    if as_json:
        echo(json_line(facts(made)))
        return
    until = datetime.fromtimestamp(made.expires_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    for app, title in (("linphone", "Linphone"), ("acrobits", "Groundwire, Acrobits Softphone")):
        echo(f"{title}: {made.links[app]}\n\n{_in_terminal(made.codes[app])}")
    echo(f"Good until {until}, {made.fetches} times in all. By hand:\n")
    password = made.settings.password if made.is_new else "(as it was)"
    for name, value in {**made.settings.fields, "password": password}.items():
        echo(f"  {name:<24} {value}")


def _in_terminal(text: str) -> str:
    """Return a QR code as text, two modules per character, black on white on any terminal."""
    out = io.StringIO()
    segno.make(text, error="m", micro=False).terminal(out=out, compact=True, border=2)
    lines = out.getvalue().splitlines()
    if sys.stdout.isatty():
        lines = [f"\x1b[97;40m{line}\x1b[0m" for line in lines]
    return "\n".join(lines) + "\n"


def _save(made: ProvisioningLink, app: str, path: Path) -> None:
    """Save a QR code, which gives access to the password, as PNG or SVG for its owner only."""
    out = io.BytesIO()
    kind = "svg" if path.suffix.lower() == ".svg" else "png"
    segno.make(made.codes[app], error="m", micro=False).save(out, kind=kind, scale=8)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        with contextlib.suppress(OSError):
            os.fchmod(file.fileno(), 0o600)  # the mode of a file that existed before
        file.write(out.getvalue())
