"""Commands for customers and their subaccounts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import rich_click as click

from sipsms.cli.base import Context, account_name, cli, json_option, pass_context, phone_number, show
from sipsms.core.errors import BadValue
from sipsms.core.quantities import duration


def _ask(_context: Any, _param: Any, value: str | None) -> str:
    """Prompt for a missing password on a terminal. Raises UsageError without a terminal."""
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


_password = click.option("--password", callback=_ask, help="Password the phone registers with. Prompts if missing.")
_caller_id = click.option("--caller-id", callback=phone_number, help="DID to send from if the phone gives none.")


@cli.group()
def account() -> None:
    """Manage customers. A customer may also register as a phone.

    Start with `account add`, then `did add` for its numbers and `subaccount add` for its phones."""


@account.command("add")
@click.argument("name", callback=account_name)
@_password
@_caller_id
@pass_context
def account_add(context: Context, name: str, password: str, caller_id: str | None) -> None:
    """Add a customer.

    Next, add its numbers with `sipsms did add`."""
    context.do("add_account", name=name, password=password, parent="", caller_id=caller_id or "")
    click.echo(f"account {name} added")


@account.command("list")
@json_option
@pass_context
def account_list(context: Context, as_json: bool) -> None:
    """List customers and subaccounts."""
    rows = context.do("list_accounts")
    show(rows, as_json, "name customer caller_id enabled", "no accounts")


@account.command("passwd")
@click.argument("name")
@_password
@pass_context
def account_passwd(context: Context, name: str, password: str) -> None:
    """Set the password of an account or subaccount.

    Its phones must then register with the new password."""
    context.do("set_password", name=name, password=password)
    click.echo(f"password of {name} set")


@account.command("set")
@click.argument("name")
@click.option("--caller-id", callback=phone_number, help="DID to send from if the phone gives none. Empty: none.")
@click.option("--enabled/--disabled", default=None, help="Let the account log in, or not.")
@click.option(
    "--legacy-digest/--no-legacy-digest", default=None, help="Accept digests without nc (RFC 2069), for old phones."
)
@click.option("--presence/--no-presence", default=None, help="Show its presence to the customer's other accounts.")
@click.option("--copies/--no-copies", default=None, help="Copy sent messages to its other devices.")
@click.option(
    "--reply-from-thread/--no-reply-from-thread",
    default=None,
    help="Without a stated caller ID, send from the DID that the peer last wrote to.",
)
@click.option(
    "--bulk/--no-bulk", default=None, help="Allow similar texts to many numbers. On a customer: for all its accounts."
)
@click.option("--shorteners/--no-shorteners", default=None, help="Allow links of public URL shorteners.")
@click.option("--app-messages/--no-app-messages", default=None, help="Let an app fetch its messages instead of SIP.")
@click.option("--email", help="Second login name for rest.php. Empty: none.")
@click.option("--reseller", help="Customer that manages this customer. Empty: none.")
@click.option("--api-daily-limit", callback=_limit, metavar="N", help="API messages a day; 0: unlimited; or `default`.")
@click.option("--smpp-rate", callback=_limit, metavar="N", help="SMPP messages a second; 0: unlimited; or `default`.")
@click.option("--api-allow-ip", metavar="CIDR,...", help="Networks its API clients and ESMEs may use. Empty: all.")
@pass_context
def account_set(context: Context, /, name: str, **given: Any) -> None:
    """Change settings of an account or subaccount.

    Only the given options change. `sipsms account list` shows the result."""
    values = {key: value for key, value in given.items() if value is not None}
    for setting in ("api_daily_limit", "smpp_rate"):
        if values.get(setting) == _AS_CONFIGURED:
            values[setting] = None
    try:
        context.do("set_account", name=name, values=values)
    except BadValue as error:
        raise click.UsageError(f"--{error.field.replace('_', '-')}: {error.why}") from None
    click.echo(f"account {name} set")


@account.command("remove")
@click.argument("name")
@pass_context
def account_remove(context: Context, name: str) -> None:
    """Remove an account or subaccount.

    Its registrations and waiting messages end; its message history stays. Remove a customer's subaccounts and DIDs
    first."""
    context.do("remove_account", name=name)
    click.echo(f"account {name} removed")


@account.command("provision")
@click.argument("name")
@click.option("--password", help="Password of the account. Prompts if missing.")
@click.option("--new-password", is_flag=True, help="Set a new random password and put it into the link.")
@click.option(
    "--transport",
    type=click.Choice(["udp", "tcp", "tls"]),
    help="SIP transport. Default: the most secure one that the server offers.",
)
@click.option("--server", metavar="HOST[:PORT]", help="Address that phones connect to. Default: the domain.")
@click.option("--url", help="Base URL of the link. Default: `web.url` of the configuration.")
@click.option(
    "--expires", "lasts", type=duration, default="24h", show_default=True, help="Lifetime of the link: 30m, 24h, 7d."
)
@click.option(
    "--fetches",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    help="Times the link works, for all phones together.",
)
@click.option("--cloud-id", help="Cloud ID of Acrobits' Cloud Softphone, for its QR code.")
@click.option("--png", "--svg", "picture", type=click.Path(path_type=Path), help="Also save the QR code to this file.")
@click.option(
    "--app", type=click.Choice(["linphone", "acrobits"]), default="linphone", help="App of the saved QR code."
)
@json_option
@pass_context
def account_provision(context: Context, /, picture: Path | None, app: str, as_json: bool, **given: Any) -> None:
    """Make a link and QR code that set up a phone.

    Open the link or scan the code with Linphone, Groundwire or Acrobits Softphone. The link gives access to the
    password, so share it only with the phone's owner."""
    from sipsms.cli.provision import show as show_link

    given["password"] = _old_password(given["password"], given.pop("new_password"))
    show_link(context.do("provision", **given), as_json, click.echo, app, picture)


def _old_password(password: str | None, make_new: bool) -> str | None:
    if make_new != (password is None) and (make_new or not sys.stdin.isatty()):
        raise click.UsageError("Give either --password or --new-password.")
    return password if make_new or password is not None else str(click.prompt("Password", hide_input=True))


@cli.group()
def subaccount() -> None:
    """Manage phones and trunks of a customer."""


@subaccount.command("add")
@click.argument("name", callback=account_name)
@click.option("--account", "parent", required=True, help="Customer that owns it.")
@_password
@_caller_id
@pass_context
def subaccount_add(context: Context, name: str, parent: str, password: str, caller_id: str | None) -> None:
    """Add a subaccount, for a phone or trunk.

    Next, set up the phone with `sipsms subaccount provision`, and choose its number with `sipsms did set
    --sip-account`."""
    context.do("add_account", name=name, password=password, parent=parent, caller_id=caller_id or "")
    click.echo(f"subaccount {name} of {parent} added")


subaccount.add_command(account_list, "list")
subaccount.add_command(account_set, "set")
subaccount.add_command(account_passwd, "passwd")
subaccount.add_command(account_remove, "remove")
subaccount.add_command(account_provision, "provision")
