"""Customers and their subaccounts."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import rich_click as click

from sipsms.cli.base import Context, account_name, cli, json_option, pass_context, phone_number, show
from sipsms.core.validators import duration
from sipsms.store import accounts


def _ask(_context: Any, _param: Any, value: str | None) -> str:
    """A password that is not given is asked for, where there is somebody to ask."""
    if value is not None:
        return value
    if not sys.stdin.isatty():
        raise click.UsageError("Missing option '--password'.")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))


_AS_CONFIGURED = -1


def _limit(_context: Any, _param: Any, value: str | None) -> int | None:
    if value is None or value == "default":
        return None if value is None else _AS_CONFIGURED
    if not value.isascii() or not value.isdigit() or len(value) > 9:
        raise click.BadParameter("a number, or `default`")
    return int(value)


_password = click.option("--password", callback=_ask, help="What the phone registers with; asked for if not given.")
_caller_id = click.option("--caller-id", callback=phone_number, help="DID shown where the phone names none.")


@cli.group()
def account() -> None:
    """Customers; each may register under its own name."""


@account.command("add")
@click.argument("name", callback=account_name)
@_password
@_caller_id
@pass_context
def account_add(context: Context, name: str, password: str, caller_id: str | None) -> None:
    """Add a customer."""
    hashes = context.hashes(name, password)
    context.store(lambda db: accounts.add_account(db, name, hashes, time.time(), caller_id=caller_id or ""))
    click.echo(f"account {name} added")


@account.command("list")
@json_option
@pass_context
def account_list(context: Context, as_json: bool) -> None:
    """Customers and subaccounts."""
    rows = context.store(lambda db: list(accounts.list_accounts(db)))
    show(rows, as_json, "name customer caller_id enabled", "no accounts")


@account.command("passwd")
@click.argument("name")
@_password
@pass_context
def account_passwd(context: Context, name: str, password: str) -> None:
    """Set the password of an account or subaccount."""
    hashes = context.hashes(name, password)
    context.store(lambda db: accounts.set_password(db, name, hashes))
    click.echo(f"password of {name} set")


@account.command("set")
@click.argument("name")
@click.option("--caller-id", callback=phone_number, help="Empty: none.")
@click.option("--enabled/--disabled", default=None)
@click.option("--legacy-digest/--no-legacy-digest", default=None, help="Take RFC 2069-style answers (no nc).")
@click.option("--presence/--no-presence", default=None, help="Others of its customer may see whether it is there.")
@click.option("--copies/--no-copies", default=None, help="Show what one of its devices sends on the others.")
@click.option("--bulk/--no-bulk", default=None, help="May write alike to many numbers; of a customer: all of its.")
@click.option("--shorteners/--no-shorteners", default=None, help="May send links of public URL shorteners.")
@click.option("--app-messages/--no-app-messages", default=None, help="An app fetches its messages; none by SIP.")
@click.option("--email", help="Another name for it at rest.php. Empty: none.")
@click.option("--reseller", help="The customer that manages this one. Empty: none.")
@click.option("--api-daily-limit", callback=_limit, metavar="N", help="Sends a day by the APIs; 0: any; `default`.")
@click.option("--smpp-rate", callback=_limit, metavar="N", help="Messages a second by SMPP; 0: any; `default`.")
@click.option(
    "--api-allow-ip", metavar="CIDR,...", help="Networks that API clients and ESMEs of it call from. Empty: all."
)
@pass_context
def account_set(context: Context, /, name: str, **given: Any) -> None:
    """Change an account or subaccount."""
    values = {key: value for key, value in given.items() if value is not None}
    for setting in ("api_daily_limit", "smpp_rate"):
        if values.get(setting) == _AS_CONFIGURED:
            values[setting] = None
    try:
        context.store(lambda db: accounts.set_account(db, name, **values))
    except accounts.BadValue as error:
        raise click.UsageError(f"--{error.field.replace('_', '-')}: {error.why}") from None
    click.echo(f"account {name} set")


@account.command("remove")
@click.argument("name")
@pass_context
def account_remove(context: Context, name: str) -> None:
    """Remove an account or subaccount with its registrations; its messages stay."""
    context.store(lambda db: accounts.remove_account(db, name))
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
@json_option
@pass_context
def account_provision(context: Context, /, picture: Path | None, app: str, as_json: bool, **given: Any) -> None:
    """Make a link and a QR code by which a phone sets itself up."""
    from sipsms.accounts.provisioning_link import Order, issue
    from sipsms.cli.provision import show as show_link

    given["password"] = _old_password(given["password"], given.pop("new_password"))
    made = context.store(lambda db: issue(context.config().for_phones, db, Order(**given), time.time()))
    show_link(made, as_json, click.echo, app, picture)


def _old_password(password: str | None, make_new: bool) -> str | None:
    if make_new != (password is None) and (make_new or not sys.stdin.isatty()):
        raise click.UsageError("Give either --password or --new-password.")
    return password if make_new or password is not None else str(click.prompt("Password", hide_input=True))


@cli.group()
def subaccount() -> None:
    """Phones and trunks of a customer."""


@subaccount.command("add")
@click.argument("name", callback=account_name)
@click.option("--account", "parent", required=True, help="The customer.")
@_password
@_caller_id
@pass_context
def subaccount_add(context: Context, name: str, parent: str, password: str, caller_id: str | None) -> None:
    """Add a subaccount."""
    hashes = context.hashes(name, password)
    context.store(
        lambda db: accounts.add_account(db, name, hashes, time.time(), parent=parent, caller_id=caller_id or "")
    )
    click.echo(f"subaccount {name} of {parent} added")


subaccount.add_command(account_list, "list")
subaccount.add_command(account_set, "set")
subaccount.add_command(account_passwd, "passwd")
subaccount.add_command(account_remove, "remove")
subaccount.add_command(account_provision, "provision")
