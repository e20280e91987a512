"""The command line. Every list has --json; errors are one line; exit 0 done, 1 could not be done, 2 wrong usage."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click
from click.exceptions import Abort, Exit
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection

from sipsms import __version__, importing
from sipsms import config as configuration
from sipsms.config import Config
from sipsms.document import ConfigError
from sipsms.importing import telephone_number
from sipsms.numbers import normalise
from sipsms.sip.digest import ha1
from sipsms.store import admin
from sipsms.store.admin import AdminError, Hashes
from sipsms.store.engine import HEAD, StoreError, ensure_schema, open_engine, version_of
from sipsms.values import duration

T = TypeVar("T")

_PLACES = ("sipsms.yaml", "etc/sipsms.yaml", "/etc/sipsms/sipsms.yaml")
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


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
            raise click.ClickException(f"no configuration: give one with -c FILE, or make one of {', '.join(_PLACES)}")
        return found

    def config(self) -> Config:
        return configuration.load(self.path)

    def store(self, work: Callable[[Connection], T]) -> T:
        """Run work in one transaction on the store."""
        engine = open_engine(self.config().store_url)
        try:
            ensure_schema(engine)
            with engine.begin() as connection:
                return work(connection)
        finally:
            engine.dispose()

    def hashes(self, name: str, password: str) -> Hashes:
        realm = self.config().realm
        return Hashes(ha1(name, realm, password), ha1(name, realm, password, "SHA-256"), realm)


pass_context = click.make_pass_decorator(Context)
_json = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-c", "--config", "path", type=click.Path(path_type=Path, dir_okay=False), help="Configuration file.")
@click.version_option(__version__, prog_name="sipsms")
@click.pass_context
def cli(context: click.Context, path: Path | None) -> None:
    """SIP MESSAGE registrar and proxy, SMS gateway."""
    context.obj = Context(path)


def main() -> None:
    """Entry point: every expected error is one line on stderr."""
    try:
        cli.main(standalone_mode=False, prog_name="sipsms")
    except Exit as error:
        sys.exit(error.exit_code)
    except (Abort, KeyboardInterrupt):
        sys.exit(130)
    except click.UsageError as error:
        where = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        _fail(f"{error.format_message()}{where}", 2)
    except click.ClickException as error:
        _fail(error.format_message(), 1)
    except (ConfigError, StoreError, AdminError) as error:
        _fail(str(error), 1)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as error:
        if not _is_expected(error):
            raise
        _fail(str(getattr(error, "orig", error)).splitlines()[0], 1)


def _is_expected(error: Exception) -> bool:
    from sqlalchemy.exc import SQLAlchemyError

    from sipsms.app import StartError
    from sipsms.ports import Unavailable

    return isinstance(error, (SQLAlchemyError, StartError, Unavailable, OSError))


def _fail(text: str, code: int) -> None:
    print("\n".join(f"sipsms: {line}" for line in text.splitlines()), file=sys.stderr)
    sys.exit(code)


# --- output ----------------------------------------------------------------------------------------------------------


def _show(rows: Iterable[dict[str, Any]], as_json: bool, columns: str, empty: str) -> None:
    """Rows as JSON lines, or as a table of the named columns."""
    if as_json:
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False))
        return
    names = columns.split()
    table = Table(*(name.replace("_", " ") for name in names), box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(_cell(name, row[name]) for name in names))
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    console.print(table if table.row_count else empty)


def _cell(name: str, value: Any) -> str:
    if name == "created_at":
        return str(value)[:19].replace("T", " ")
    if name.endswith("_at") or name == "last_seen":
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S") if value else ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _plain(str(value))


def _plain(text: str) -> str:
    """Other people's text on a terminal: no control characters, no markup."""
    return "".join(char if char.isprintable() else " " for char in text).replace("[", "\\[")


# --- what is typed ---------------------------------------------------------------------------------------------------


def _name(_context: Any, _param: Any, value: str | None) -> str | None:
    if value and (len(value) > 64 or not _NAME.issuperset(value)):
        raise click.BadParameter("letters, digits, - _ . only, at most 64")
    return value


def _number(_context: Any, _param: Any, value: str | None) -> str | None:
    if not value:
        return value
    number = telephone_number(value)
    if number is None:
        raise click.BadParameter(f"{value!r} is not a telephone number (10 digits)")
    return number


def _sender(_context: Any, _param: Any, value: str) -> str:
    sender = normalise(value)
    if sender is None:
        raise click.BadParameter(f"{value!r} is not a number, short code or sender name")
    return sender


# --- server ----------------------------------------------------------------------------------------------------------


@cli.command()
@pass_context
def serve(context: Context) -> None:
    """Run the server until SIGTERM; SIGHUP reloads the configuration."""
    from sipsms import app

    config = context.config()
    other = context.store(lambda connection: admin.other_realms(connection, config.realm))
    if other:
        click.echo(
            f"sipsms: {other} accounts have passwords made for another realm than {config.realm}: "
            "set `realm` back, or set their passwords again",
            err=True,
        )
    app.serve(config, context.path)


@cli.command("check-config")
@pass_context
def check_config(context: Context) -> None:
    """Check the configuration and the dialplan."""
    from sipsms import app

    config = context.config()
    app.load_dialplan(config)
    app.check_certificate(config)
    click.echo(f"{context.path}: good")


@cli.command()
@pass_context
def migrate(context: Context) -> None:
    """Bring the store's schema up to date."""
    engine = open_engine(context.config().store_url)
    before = version_of(engine)
    changed = ensure_schema(engine)
    engine.dispose()
    click.echo(f"schema {before or 'none'} -> {HEAD}" if changed else f"schema {HEAD}: nothing to do")


@cli.command()
@click.option("--once", is_flag=True, help="Exit after the play; 0 only if every step was seen.")
@pass_context
def demo(context: Context, once: bool) -> None:
    """Play the main job live with real softphones, then keep serving."""
    from sipsms import demo as play

    context.config()
    sys.exit(play.run(context.path, once=once))


@cli.command()
@click.option("--account", default="", metavar="NAME", help="Only what concerns this account.")
@click.option("--full", is_flag=True, help="The whole messages, with their texts.")
@click.option("--count", type=click.IntRange(1), help="End after N messages.")
@_json
@pass_context
def trace(context: Context, account: str, full: bool, count: int | None, as_json: bool) -> None:
    """Watch the SIP messages of the running server."""
    from sipsms import tracing

    try:
        tracing.show(context.config(), account, full, as_json, count or 0, click.echo)
    except tracing.NotRunning as error:
        raise click.ClickException(str(error)) from None


@cli.command()
@click.argument("name")
@click.option("--password", required=True)
@click.option("--server", required=True, metavar="HOST:PORT")
@click.option("--transport", type=click.Choice(["udp", "tcp", "tls"]), default="udp", show_default=True)
@click.option("--to", metavar="NUMBER", help="Send TEXT to this number and exit.")
@click.argument("text", required=False)
def softphone(name: str, password: str, server: str, transport: str, to: str | None, text: str | None) -> None:
    """A softphone in the terminal: shows what arrives, sends `NUMBER text` lines."""
    from sipsms import softphone as phone

    if (to is None) != (text is None):
        raise click.UsageError("--to NUMBER and TEXT go together")
    sys.exit(phone.run_interactive(name, password, server, to, text, transport=transport))


# --- accounts --------------------------------------------------------------------------------------------------------


def _ask(_context: Any, _param: Any, value: str | None) -> str:
    """A password that is not given is asked for, where there is somebody to ask."""
    if value is not None:
        return value
    if not sys.stdin.isatty():
        raise click.UsageError("Missing option '--password'.")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))


_password = click.option("--password", callback=_ask, help="What the phone registers with; asked for if not given.")
_caller_id = click.option("--caller-id", callback=_number, help="DID shown where the phone names none.")


@cli.group()
def account() -> None:
    """Customers; each may register under its own name."""


@account.command("add")
@click.argument("name", callback=_name)
@_password
@_caller_id
@pass_context
def account_add(context: Context, name: str, password: str, caller_id: str | None) -> None:
    """Add a customer."""
    hashes = context.hashes(name, password)
    context.store(lambda db: admin.add_account(db, name, hashes, time.time(), caller_id=caller_id or ""))
    click.echo(f"account {name} added")


@account.command("list")
@_json
@pass_context
def account_list(context: Context, as_json: bool) -> None:
    """Customers and subaccounts."""
    rows = context.store(lambda db: list(admin.list_accounts(db)))
    _show(rows, as_json, "name customer caller_id enabled", "no accounts")


@account.command("passwd")
@click.argument("name")
@_password
@pass_context
def account_passwd(context: Context, name: str, password: str) -> None:
    """Set the password of an account or subaccount."""
    hashes = context.hashes(name, password)
    context.store(lambda db: admin.set_password(db, name, hashes))
    click.echo(f"password of {name} set")


@account.command("set")
@click.argument("name")
@click.option("--caller-id", callback=_number, help="Empty: none.")
@click.option("--enabled/--disabled", default=None)
@click.option("--legacy-digest/--no-legacy-digest", default=None, help="Take RFC 2069-style answers (no nc).")
@click.option("--presence/--no-presence", default=None, help="Others of its customer may see whether it is there.")
@click.option("--copies/--no-copies", default=None, help="Show what one of its devices sends on the others.")
@pass_context
def account_set(context: Context, /, name: str, **given: Any) -> None:
    """Change an account or subaccount."""
    values = {key: value for key, value in given.items() if value is not None}
    context.store(lambda db: admin.set_account(db, name, **values))
    click.echo(f"account {name} set")


@account.command("remove")
@click.argument("name")
@pass_context
def account_remove(context: Context, name: str) -> None:
    """Remove an account or subaccount with its registrations; its messages stay."""
    context.store(lambda db: admin.remove_account(db, name))
    click.echo(f"account {name} removed")


@account.command("provision")
@click.argument("name")
@click.option("--password", help="Its password; asked for if not given.")
@click.option("--new-password", is_flag=True, help="Make a new password, and set it.")
@click.option("--transport", type=click.Choice(["udp", "tcp", "tls"]), help="Else the best there is.")
@click.option("--server", metavar="HOST[:PORT]", help="What phones connect to, if not the domain.")
@click.option("--url", help="Instead of `web.url` of the configuration.")
@click.option("--expires", "lasts", type=duration, default="24h", show_default=True, help="30m, 24h, 7d")
@click.option("--fetches", type=click.IntRange(1, 1000), default=5, show_default=True, help="By all phones together.")
@click.option("--cloud-id", help="Of Acrobits' Cloud Softphone, for its QR code.")
@click.option("--png", "--svg", "picture", type=click.Path(path_type=Path), help="Write the QR code to this file, too.")
@click.option("--app", type=click.Choice(["linphone", "acrobits"]), default="linphone", help="Whose code is written.")
@_json
@pass_context
def account_provision(context: Context, /, picture: Path | None, app: str, as_json: bool, **given: Any) -> None:
    """Make a link and a QR code by which a phone sets itself up."""
    from sipsms.handout import Order, issue, show

    given["password"] = _old_password(given["password"], given.pop("new_password"))
    made = context.store(lambda db: issue(context.config(), db, Order(**given), time.time()))
    show(made, as_json, click.echo, app, picture)


def _old_password(password: str | None, make_new: bool) -> str | None:
    if make_new != (password is None) and (make_new or not sys.stdin.isatty()):
        raise click.UsageError("Give either --password or --new-password.")
    return password if make_new or password is not None else str(click.prompt("Password", hide_input=True))


@cli.group()
def subaccount() -> None:
    """Phones and trunks of a customer."""


@subaccount.command("add")
@click.argument("name", callback=_name)
@click.option("--account", "parent", required=True, help="The customer.")
@_password
@_caller_id
@pass_context
def subaccount_add(context: Context, name: str, parent: str, password: str, caller_id: str | None) -> None:
    """Add a subaccount."""
    hashes = context.hashes(name, password)
    context.store(lambda db: admin.add_account(db, name, hashes, time.time(), parent=parent, caller_id=caller_id or ""))
    click.echo(f"subaccount {name} of {parent} added")


subaccount.add_command(account_list, "list")
subaccount.add_command(account_set, "set")
subaccount.add_command(account_passwd, "passwd")
subaccount.add_command(account_remove, "remove")
subaccount.add_command(account_provision, "provision")


# --- DIDs ------------------------------------------------------------------------------------------------------------


@cli.group()
def did() -> None:
    """Telephone numbers."""


@did.command("add")
@click.argument("number", callback=_number)
@click.option("--account", "owner", required=True, help="The customer that owns it.")
@click.option("--sip-account", callback=_name, help="Who gets its messages; default: the customer. Empty: nobody.")
@click.option("--no-sms", is_flag=True, help="Not enabled for SMS.")
@pass_context
def did_add(context: Context, number: str, owner: str, sip_account: str | None, no_sms: bool) -> None:
    """Add a DID."""
    target = owner if sip_account is None else sip_account
    context.store(lambda db: admin.add_did(db, number, owner, time.time(), sip_account=target, sms=not no_sms))
    click.echo(f"DID {number} of {owner} added, delivers to {target or 'nobody'}")


@did.command("set")
@click.argument("number", callback=_number)
@click.option("--account", "owner", help="Another customer.")
@click.option("--sip-account", callback=_name, help="Empty: nobody.")
@click.option("--sms/--no-sms", default=None)
@pass_context
def did_set(context: Context, number: str, owner: str | None, sip_account: str | None, sms: bool | None) -> None:
    """Change a DID."""
    given = {"account": owner, "sip_account": sip_account, "sms": sms}
    values = {key: value for key, value in given.items() if value is not None}
    context.store(lambda db: admin.set_did(db, number, **values))
    click.echo(f"DID {number} set")


@did.command("list")
@_json
@pass_context
def did_list(context: Context, as_json: bool) -> None:
    """All DIDs."""
    rows = context.store(lambda db: list(admin.list_dids(db)))
    _show(rows, as_json, "number account sip_account sms", "no DIDs")


@did.command("remove")
@click.argument("number", callback=_number)
@pass_context
def did_remove(context: Context, number: str) -> None:
    """Remove a DID; its messages stay."""
    context.store(lambda db: admin.remove_did(db, number))
    click.echo(f"DID {number} removed")


# --- looking ---------------------------------------------------------------------------------------------------------


@cli.command()
@_json
@pass_context
def registrations(context: Context, as_json: bool) -> None:
    """Phones that are registered now."""
    rows = context.store(lambda db: list(admin.list_bindings(db, time.time())))
    _show(rows, as_json, "account contact received device user_agent expires_in", "nobody is registered")


@cli.command()
@_json
@pass_context
def devices(context: Context, as_json: bool) -> None:
    """Phones that have registered before, and what waits for them."""
    rows = context.store(lambda db: list(admin.list_devices(db, time.time())))
    _show(rows, as_json, "device account registered waiting user_agent last_seen key", "no devices yet")


@cli.command()
@click.option("--did", "number", callback=_number, help="Only of this DID.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="The newest N.")
@_json
@pass_context
def messages(context: Context, number: str | None, limit: int, as_json: bool) -> None:
    """Messages, oldest first."""
    rows = context.store(lambda db: admin.list_messages(db, number or "", limit))
    _show(rows, as_json, "id created_at direction from to state carrier text", "no messages")


@cli.command()
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=100, show_default=True)
@_json
@pass_context
def queue(context: Context, limit: int, as_json: bool) -> None:
    """Deliveries that are not over, oldest first."""
    rows = context.store(lambda db: list(admin.list_queue(db, limit)))
    _show(rows, as_json, "delivery message courier destination device state attempts due_at last_error", "empty")


@cli.group(invoke_without_command=True)
@_json
@click.pass_context
def carriers(click_context: click.Context, as_json: bool) -> None:
    """Carriers and what waits for them."""
    if click_context.invoked_subcommand is not None:
        return
    context: Context = click_context.obj
    paused, waiting = context.store(admin.carrier_states)
    rows = [
        {"name": name, "type": one.type, "paused": name in paused, "waiting": waiting.get(f"carrier:{name}", 0)}
        for name, one in context.config().carriers.items()
    ]
    _show(rows, as_json, "name type paused waiting", "no carriers are configured")


def _set_paused(context: Context, name: str, paused: bool) -> None:
    if name not in context.config().carriers:
        raise click.ClickException(f"no carrier {name} in {context.path}")
    context.store(lambda db: admin.pause_carrier(db, name, paused=paused))
    click.echo(f"carrier {name} {'paused' if paused else 'resumed'}")


@carriers.command("pause")
@click.argument("name")
@pass_context
def carriers_pause(context: Context, name: str) -> None:
    """Send nothing by this carrier; messages wait."""
    _set_paused(context, name, True)


@carriers.command("resume")
@click.argument("name")
@pass_context
def carriers_resume(context: Context, name: str) -> None:
    """Send by this carrier again."""
    _set_paused(context, name, False)


# --- import and export -----------------------------------------------------------------------------------------------


@cli.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@pass_context
def import_(context: Context, file: Path) -> None:
    """Accounts, subaccounts and DIDs from YAML; what is there already stays or is changed."""
    people, numbers = importing.read(file, context.config().realm)
    counts = context.store(lambda db: admin.import_all(db, people, numbers, time.time()))
    click.echo(", ".join(f"{count} {what}" for what, count in counts.items()))


@cli.command()
@pass_context
def export(context: Context) -> None:
    """Accounts, subaccounts and DIDs as YAML, without passwords (only hashes are stored)."""
    import yaml

    tree = context.store(admin.export_all)
    click.echo(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), nl=False)


# --- messages by hand ------------------------------------------------------------------------------------------------


@cli.command()
@click.option("--from", "source", required=True, callback=_sender, metavar="NUMBER")
@click.option("--to", "target", required=True, callback=_number, metavar="DID")
@click.argument("text")
@pass_context
def receive(context: Context, source: str, target: str, text: str) -> None:
    """An SMS arrives, as if from a carrier."""
    from sipsms import manual

    click.echo(manual.receive(context.config(), source, target, text))


@cli.command()
@click.option("--from", "source", required=True, callback=_number, metavar="DID")
@click.option("--to", "target", required=True, metavar="NUMBER")
@click.argument("text")
@pass_context
def send(context: Context, source: str, target: str, text: str) -> None:
    """Send an SMS from a DID."""
    from sipsms import manual

    click.echo(manual.send(context.config(), source, target, text))


@cli.command()
@click.option("--from", "source", required=True, metavar="NUMBER")
@click.option("--to", "target", required=True, metavar="NUMBER")
@_json
@pass_context
def route(context: Context, source: str, target: str, as_json: bool) -> None:
    """Which rules hit, and where a message would go."""
    from sipsms import manual

    found = manual.route(context.config(), source, target)
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    for line in found["trace"]:
        click.echo(f"  {line}")
    click.echo(
        f"refused: {found['refused']}" if found["refused"] else f"goes to: {', '.join(found['routes']) or 'nobody'}"
    )
