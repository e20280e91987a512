"""Commands for telephone numbers, their destinations, and groups of accounts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import rich_click as click

from sipsms.cli.base import Context, account_name, cli, json_option, pass_context, phone_number, show
from sipsms.core.errors import BadValue


@cli.group()
def did() -> None:
    """Manage telephone numbers (DIDs) and where their messages go."""


@did.command("add")
@click.argument("number", callback=phone_number)
@click.option("--account", "owner", required=True, help="Customer that owns the DID.")
@click.option(
    "--sip-account", callback=account_name, help="Account that gets its messages. Default: the customer. Empty: none."
)
@click.option("--no-sms", is_flag=True, help="Add the DID with SMS switched off.")
@pass_context
def did_add(context: Context, number: str, owner: str, sip_account: str | None, no_sms: bool) -> None:
    """Add a number to a customer.

    Choose further destinations (e-mail, webhook, SMPP, ...) with `sipsms did set`."""
    target = owner if sip_account is None else sip_account
    context.do("add_did", number=number, account=owner, sip_account=target, sms=not no_sms)
    click.echo(f"DID {number} of {owner} added, delivers to {target or 'nobody'}")


def _emails(_context: Any, _param: Any, value: str | None) -> list[str] | None:
    return None if value is None else [one.strip() for one in value.split(",") if one.strip()]


def _named(value: str) -> str:
    """Return the secret in env:NAME or file:PATH, which processes and the shell's history do not show."""
    kind, _, name = value.partition(":")
    try:
        return os.environ[name] if kind == "env" else Path(name).read_text("utf-8").strip()
    except (KeyError, OSError, UnicodeDecodeError):
        raise click.BadParameter(f"cannot read {value}") from None


def _secret(_context: Any, _param: Any, value: str | None) -> str | None:
    return _named(value) if value and value.startswith(("env:", "file:")) else value


@did.command("set")
@click.argument("number", callback=phone_number)
@click.option("--account", "owner", help="Move to another customer. Removes all destinations.")
@click.option("--sip-account", callback=account_name, help="Account that gets its messages. Empty: none.")
@click.option("--email", "emails", callback=_emails, metavar="A,B", help="E-mail addresses that get its messages.")
@click.option(
    "--forward", callback=phone_number, metavar="NUMBER", help="Forward its messages to this number, sent from the DID."
)
@click.option(
    "--callback",
    metavar="URL",
    help="URL to call by GET. Placeholders: {FROM} {TO} {MESSAGE} {ID} {TIMESTAMP} {MEDIA}.",
)
@click.option(
    "--callback-retry/--no-callback-retry", default=None, help="Call again every 30 minutes until the page answers ok."
)
@click.option("--webhook", metavar="URL", help="URL that gets JSON by POST, in the format of 3CX and Telnyx.")
@click.option(
    "--bearer", callback=_secret, metavar="TOKEN", help="Token to send to the webhook; or env:NAME, file:PATH."
)
@click.option(
    "--webhook-secret", callback=_secret, metavar="S", help="Secret that signs the webhook (Standard Webhooks)."
)
@click.option("--smpp/--no-smpp", default=None, help="Deliver by SMPP, to the bound program or to --smpp-url.")
@click.option("--smpp-username", metavar="U", help="Username of the SMPP program. Empty: the customer's name.")
@click.option(
    "--smpp-password", callback=_secret, metavar="P", help="Password of the SMPP program; or env:NAME, file:PATH."
)
@click.option("--smpp-url", metavar="URL", help="Customer's SMPP server to bind to: smpp://HOST, ssmpp://HOST.")
@click.option(
    "--dialing-mode", type=click.Choice(["", "nanpa", "e164"]), help="Number format of callbacks, webhooks and APIs."
)
@click.option(
    "--group", callback=account_name, metavar="NAME", help="Deliver to all accounts of this group. Empty: none."
)
@click.option("--sms/--no-sms", default=None, help="Switch SMS on or off.")
@click.option("--mms/--no-mms", default=None, help="Switch MMS on or off.")
@pass_context
def did_set(context: Context, /, number: str, **given: Any) -> None:
    """Change a number's owner, destinations or settings.

    An empty value removes a destination. Only the given options change; `sipsms did list` shows the result."""
    given["account"] = given.pop("owner")
    try:
        has_mail = context.do("change_did", number=number or "", given=given)
    except BadValue as error:
        option = {"emails": "email"}.get(error.field, error.field).replace("_", "-")
        raise click.UsageError(f"--{option}: {error.why}") from None
    if given["emails"] and not has_mail:
        click.echo("warning: there is no `smtp` in the configuration: e-mails wait until there is", err=True)
    click.echo(f"DID {number} set")


@did.command("list")
@json_option
@pass_context
def did_list(context: Context, as_json: bool) -> None:
    """List all numbers."""
    rows = context.do("list_dids")
    if not as_json:
        rows = [{**row, "also": _also(row)} for row in rows]
    show(rows, as_json, "number account sip_account sms mms also~", "no DIDs")


def _also(row: dict[str, Any]) -> str:
    kinds = ("group", "emails", "forward", "callback", "webhook", "smpp")
    return " ".join(kind.removesuffix("s") for kind in kinds if row[kind])


@did.command("remove")
@click.argument("number", callback=phone_number)
@pass_context
def did_remove(context: Context, number: str) -> None:
    """Remove a number; its messages stay."""
    context.do("remove_did", number=number)
    click.echo(f"DID {number} removed")


@cli.command()
@json_option
@pass_context
def webhooks(context: Context, as_json: bool) -> None:
    """List callbacks and webhooks, and whether they are on.

    A URL is off if its server answered 410, or if a webhook failed for days. Set the URL again with `sipsms did set` to
    switch it on."""
    rows = context.do("list_endpoints")
    show(rows, as_json, "did kind on why~ url~", "no DID has one")


# --- groups ----------------------------------------------------------------------------------------------------------


@cli.group()
def group() -> None:
    """Manage groups of accounts that a number can deliver to."""


@group.command("add")
@click.argument("name", callback=account_name)
@click.option(
    "--member", "members", multiple=True, required=True, help="Account to include; repeat the option for more."
)
@pass_context
def group_add(context: Context, name: str, members: tuple[str, ...]) -> None:
    """Create a group, or replace its members.

    Deliver a number to the group with `sipsms did set NUMBER --group NAME`."""
    owner = context.do("put_group", name=name, members=list(members))
    click.echo(f"group {name} of {owner}: {', '.join(dict.fromkeys(members))}")


@group.command("list")
@json_option
@pass_context
def group_list(context: Context, as_json: bool) -> None:
    """List all groups."""
    rows = context.do("list_groups")
    if not as_json:
        rows = [{**row, "members": " ".join(row["members"])} for row in rows]
    show(rows, as_json, "name account members~", "no groups")


@group.command("remove")
@click.argument("name")
@pass_context
def group_remove(context: Context, name: str) -> None:
    """Remove a group. No number may deliver to it."""
    context.do("remove_group", name=name)
    click.echo(f"group {name} removed")
