"""Telephone numbers and where they deliver, and groups of accounts."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import rich_click as click

from sipsms.cli.base import Context, account_name, cli, json_option, pass_context, phone_number, show
from sipsms.store import dids
from sipsms.store.accounts import BadValue


@cli.group()
def did() -> None:
    """Telephone numbers."""


@did.command("add")
@click.argument("number", callback=phone_number)
@click.option("--account", "owner", required=True, help="The customer that owns it.")
@click.option("--sip-account", callback=account_name, help="Who gets its messages; else the customer. Empty: nobody.")
@click.option("--no-sms", is_flag=True, help="Not enabled for SMS.")
@pass_context
def did_add(context: Context, number: str, owner: str, sip_account: str | None, no_sms: bool) -> None:
    """Add a DID."""
    target = owner if sip_account is None else sip_account
    context.store(lambda db: dids.add_did(db, number, owner, time.time(), sip_account=target, sms=not no_sms))
    click.echo(f"DID {number} of {owner} added, delivers to {target or 'nobody'}")


def _emails(_context: Any, _param: Any, value: str | None) -> list[str] | None:
    return None if value is None else [one.strip() for one in value.split(",") if one.strip()]


def _named(value: str) -> str:
    """env:NAME or file:PATH: so it is in no list of processes, and in no shell's history."""
    kind, _, name = value.partition(":")
    try:
        return os.environ[name] if kind == "env" else Path(name).read_text("utf-8").strip()
    except (KeyError, OSError, UnicodeDecodeError):
        raise click.BadParameter(f"cannot read {value}") from None


def _secret(_context: Any, _param: Any, value: str | None) -> str | None:
    return _named(value) if value and value.startswith(("env:", "file:")) else value


@did.command("set")
@click.argument("number", callback=phone_number)
@click.option("--account", "owner", help="Another customer; what the DID delivered to is taken off.")
@click.option("--sip-account", callback=account_name, help="Empty: nobody.")
@click.option("--email", "emails", callback=_emails, metavar="A,B", help="E-mail addresses.")
@click.option("--forward", callback=phone_number, metavar="NUMBER", help="Pass its messages on, from the DID.")
@click.option("--callback", metavar="URL", help="GET with {FROM} {TO} {MESSAGE} {ID} {TIMESTAMP} {MEDIA} filled in.")
@click.option("--callback-retry/--no-callback-retry", default=None, help="Again every 30 minutes until it says ok.")
@click.option("--webhook", metavar="URL", help="POST of JSON in the shape of 3CX and Telnyx.")
@click.option("--bearer", callback=_secret, metavar="TOKEN", help="Sent to the webhook; or env:NAME, file:PATH.")
@click.option("--webhook-secret", callback=_secret, metavar="S", help="Signs what is sent (Standard Webhooks).")
@click.option("--smpp/--no-smpp", default=None, help="By SMPP, to the program that is bound or to its --smpp-url.")
@click.option("--smpp-username", metavar="U", help="Its program binds by. Empty: the customer's name.")
@click.option("--smpp-password", callback=_secret, metavar="P", help="The same; or env:NAME, file:PATH.")
@click.option("--smpp-url", metavar="URL", help="The customer's server, which is bound to: smpp://HOST, ssmpp://HOST.")
@click.option("--dialing-mode", type=click.Choice(["", "nanpa", "e164"]), help="How numbers are written there.")
@click.option("--group", callback=account_name, metavar="NAME", help="All accounts of a group.")
@click.option("--sms/--no-sms", default=None)
@click.option("--mms/--no-mms", default=None)
@pass_context
def did_set(context: Context, /, number: str, **given: Any) -> None:
    """Change a DID. An empty value switches a destination off."""
    config = context.config()
    given["account"] = given.pop("owner")
    try:
        context.store(lambda db: dids.change_did(db, number or "", given, allow_private=config.callbacks.allow_private))
    except BadValue as error:
        option = {"emails": "email"}.get(error.field, error.field).replace("_", "-")
        raise click.UsageError(f"--{option}: {error.why}") from None
    if given["emails"] and config.smtp is None:
        click.echo("warning: there is no `smtp` in the configuration: e-mails wait until there is", err=True)
    click.echo(f"DID {number} set")


@did.command("list")
@json_option
@pass_context
def did_list(context: Context, as_json: bool) -> None:
    """All DIDs."""
    rows = context.store(lambda db: list(dids.list_dids(db)))
    if not as_json:
        rows = [{**row, "also": _also(row)} for row in rows]
    show(rows, as_json, "number account sip_account sms mms also", "no DIDs")


def _also(row: dict[str, Any]) -> str:
    kinds = ("group", "emails", "forward", "callback", "webhook", "smpp")
    return " ".join(kind.removesuffix("s") for kind in kinds if row[kind])


@did.command("remove")
@click.argument("number", callback=phone_number)
@pass_context
def did_remove(context: Context, number: str) -> None:
    """Remove a DID; its messages stay."""
    context.store(lambda db: dids.remove_did(db, number))
    click.echo(f"DID {number} removed")


@cli.command()
@json_option
@pass_context
def webhooks(context: Context, as_json: bool) -> None:
    """Callbacks and webhooks of DIDs, and which are switched off."""
    rows = context.store(lambda db: list(dids.list_endpoints(db)))
    show(rows, as_json, "did kind on why url", "no DID has one")


# --- groups ----------------------------------------------------------------------------------------------------------


@cli.group()
def group() -> None:
    """Groups of accounts that a DID can deliver to."""


@group.command("add")
@click.argument("name", callback=account_name)
@click.option("--member", "members", multiple=True, required=True, help="An account; as often as wanted.")
@pass_context
def group_add(context: Context, name: str, members: tuple[str, ...]) -> None:
    """Make a group, or give it other members."""
    owner = context.store(lambda db: dids.put_group(db, name, members))
    click.echo(f"group {name} of {owner}: {', '.join(dict.fromkeys(members))}")


@group.command("list")
@json_option
@pass_context
def group_list(context: Context, as_json: bool) -> None:
    """All groups."""
    rows = context.store(lambda db: list(dids.list_groups(db)))
    if not as_json:
        rows = [{**row, "members": " ".join(row["members"])} for row in rows]
    show(rows, as_json, "name account members", "no groups")


@group.command("remove")
@click.argument("name")
@pass_context
def group_remove(context: Context, name: str) -> None:
    """Remove a group."""
    context.store(lambda db: dids.remove_group(db, name))
    click.echo(f"group {name} removed")
