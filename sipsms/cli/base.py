"""Parts shared by all commands: configuration, output of lists, checks of typed values."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.cells import cell_len, set_cell_size

from sipsms import __version__
from sipsms.core.e164 import normalise, telephone_number

if TYPE_CHECKING:
    from sipsms.app.settings import Config

# The commands of each module. A command's modules are imported when it is used: that is a second saved for the others.
_MODULES = {
    "accounts": "account subaccount",
    "blocks": "block",
    "examples": "carrier config",
    "dids": "did group webhooks",
    "lists": "binds carriers dead-letters devices messages queue registrations resend",
    "message": "cancel conversations message usage",
    "messages": "export import receive route send",
    "server": "check-config demo migrate serve softphone trace",
    "tokens": "account token",
    "users": "user",
}
# How `sipsms --help` groups them.
_GROUPS = {
    "Server": "serve check-config config migrate trace demo softphone",
    "Accounts, phones and numbers": (
        "account subaccount user token did group block webhooks registrations devices import export"
    ),
    "Messages": "messages message conversations send receive route cancel usage",
    "Queue and carriers": "queue resend dead-letters carriers carrier binds",
}
click.rich_click.COMMAND_GROUPS = {
    "sipsms": [{"name": title, "commands": names.split()} for title, names in _GROUPS.items()]
}
_PLACES = ("sipsms.yaml", "etc/sipsms.yaml", "/etc/sipsms/sipsms.yaml")
_LEAST = 4  # cells of a clipped column
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


class Commands(click.RichGroup):
    """All commands of `sipsms`."""

    group_class = click.RichGroup  # of the groups among them, else they would be of this class, too

    def list_commands(self, _context: click.Context) -> list[str]:
        return sorted({name for names in _MODULES.values() for name in names.split()})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        for module, names in _MODULES.items():
            if name in names.split():
                import_module(f"sipsms.cli.{module}")
        return super().get_command(context, name)


class Context:
    """The configuration, read when a command needs it."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    @property
    def path(self) -> Path:
        if self._path is not None:
            return self._path
        found = next((Path(place) for place in _PLACES if Path(place).exists()), None)
        if found is None:
            raise click.ClickException(
                f"no configuration: give one with -c FILE or SIPSMS_CONFIG, or make one of {', '.join(_PLACES)}"
            )
        return found

    def config(self, *, secrets: bool = False) -> Config:
        """Return the configuration; only what runs or checks the server needs its secrets."""
        from sipsms.app import settings

        return settings.load(self.path, secrets=secrets)

    def do(self, operation: str, **arguments: Any) -> Any:
        """Do one of `app.operations`: by the running server, or here while none runs.

        Raises AdminError, BadValue, StoreError and ConfigError."""
        from sipsms.cli import client

        return client.do(self.path, self.config, operation, arguments)


pass_context = click.make_pass_decorator(Context)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-c",
    "--config",
    "path",
    envvar="SIPSMS_CONFIG",
    show_envvar=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Configuration file.",
)
@click.version_option(__version__, prog_name="sipsms")
@click.pass_context
def cli(context: click.Context, path: Path | None) -> None:
    """SIP MESSAGE registrar and proxy, and SMS gateway.

    Check the configuration with `sipsms check-config`, then run the server with `sipsms serve`. Other commands work
    while the server is running."""
    context.obj = Context(path)


# --- output ----------------------------------------------------------------------------------------------------------


def show(rows: Iterable[dict[str, Any]], as_json: bool, columns: str, empty: str) -> None:
    """Print rows as JSON lines, or as a table of the named columns. `columns`: see `table`."""
    if as_json:
        for row in rows:
            click.echo(json_line(row))
        return
    head, *lines = table(rows, columns, shutil.get_terminal_size().columns if sys.stdout.isatty() else 0)
    click.secho(head if lines else empty, bold=bool(lines))
    for line in lines:
        click.echo(line)


def table(rows: Iterable[dict[str, Any]], columns: str, width: int) -> list[str]:
    """Return the lines of a table, headings first.

    Columns with ~ behind their name are clipped, so that lines fit into `width` cells (0: nothing is clipped). Others,
    such as numbers and times, are never cut: on a terminal too narrow even for these, lines are longer."""
    names = columns.split()
    cells = [[name.rstrip("~").replace("_", " ") for name in names]]
    cells += ([_cell(name.rstrip("~"), row[name.rstrip("~")]) for name in names] for row in rows)
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    fixed = sum(size for name, size in zip(names, widths, strict=True) if "~" not in name) + 2 * (len(names) - 1)
    longest = _longest([size for name, size in zip(names, widths, strict=True) if "~" in name], width - fixed)
    if width:
        widths = [min(size, longest) if "~" in name else size for name, size in zip(names, widths, strict=True)]
    return ["  ".join(map(_clipped, line, widths)).rstrip() for line in cells]


def _longest(widths: Sequence[int], room: int) -> int:
    """Return the width to which these columns must be clipped to fit into a room; never less than `_LEAST`."""
    longest = max(widths, default=0)
    while longest > _LEAST and sum(min(size, longest) for size in widths) > room:
        longest -= 1
    return longest


def _clipped(text: str, width: int) -> str:
    return set_cell_size(text, width) if cell_len(text) <= width else set_cell_size(text, width - 1) + "\u2026"


def _cell(name: str, value: Any) -> str:
    if name == "created_at" and isinstance(value, str):
        return value[:19].replace("T", " ")
    if name.endswith("_at") or name in ("last_seen", "since"):
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S") if value else ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return plain(str(value))


def message_cells(row: dict[str, Any]) -> dict[str, Any]:
    """Return a message for a table: its state says how many of its deliveries are delivered, if not all are."""
    done, of = row["delivered_count"], row["delivery_count"]
    state = f"{row['state']} ({done} of {of})" if 0 < done < of else row["state"]
    return {**row, "way": row["direction"], "state": state}


def json_line(value: Any) -> str:
    """Return JSON on one line: no control character of other people's texts reaches a terminal or ends the line."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(char: str) -> str:
    """Return a character as JSON's escapes of its UTF-16 units (RFC 8259 section 7)."""
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def plain(text: str) -> str:
    """Return other people's text for a terminal, without control characters."""
    return "".join(char if char.isprintable() else " " for char in text)


# --- checks of typed values -------------------------------------------------------------------------------------------


def account_name(_context: Any, _param: Any, value: str | None) -> str | None:
    if value and (len(value) > 64 or not _NAME.issuperset(value)):
        raise click.BadParameter("letters, digits, - _ . only, at most 64")
    return value


def phone_number(_context: Any, _param: Any, value: str | None) -> str | None:
    if not value:
        return value
    number = telephone_number(value)
    if number is None:
        raise click.BadParameter(f"{value!r} is not a telephone number (10 digits)")
    return number


def moment(_context: Any, _param: Any, value: str | None) -> float | None:
    """Return seconds since the epoch for an ISO 8601 time; UTC if it has no zone, as in the lists."""
    if value is None:
        return None
    try:
        when = datetime.fromisoformat(value)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{value!r} is not a time: 2027-01-31T09:00:00Z") from None


def contact(_context: Any, _param: Any, value: str | None) -> str | None:
    return value and (normalise(value) or value)


def sender(_context: Any, _param: Any, value: str) -> str:
    sender = normalise(value)
    if sender is None:
        raise click.BadParameter(f"{value!r} is not a number, short code or sender name")
    return sender
