"""Commands for API passwords and tokens, which are displayed only once."""

from __future__ import annotations

import json
import time
from typing import Any

import rich_click as click

from sipsms.cli.accounts import account
from sipsms.cli.base import Context, cli, json_option, pass_context, phone_number, show
from sipsms.core.account import Scope
from sipsms.core.validators import duration
from sipsms.store import message_list, tokens


def _tell(secret: str, as_json: bool, **more: Any) -> None:
    if as_json:
        click.echo(json.dumps({**more, "secret": secret}))
        return
    click.echo(secret)
    click.echo("shown this once: only its hash is stored", err=True)


@account.command("api-password")
@click.argument("name")
@click.option("--remove", is_flag=True, help="Remove the API password instead.")
@json_option
@pass_context
def api_password(context: Context, name: str, remove: bool, as_json: bool) -> None:
    """Make a new API password that replaces the old one.

    It is displayed only once: save it in the program that uses it."""
    if remove:
        context.store(lambda db: tokens.drop_password(db, name))
        click.echo(f"{name} has no API password any more")
        return
    _tell(context.store(lambda db: tokens.make_password(db, name)), as_json, account=name)


@cli.group()
def token() -> None:
    """Manage bearer tokens of the APIs."""


@token.command("add")
@click.argument("name")
@click.option("--account", "owner", default="", metavar="A", help="Customer that owns the token.")
@click.option("--scope", type=click.Choice([str(one) for one in Scope]), default="customer", show_default=True)
@click.option("--did", "number", callback=phone_number, help="For scope did: the only number it may use.")
@click.option("--expires", "lasts", type=duration, help="Lifetime: 30d, 12h. Default: until it is removed.")
@json_option
@pass_context
def token_add(
    context: Context, name: str, owner: str, scope: str, number: str | None, lasts: float | None, as_json: bool
) -> None:
    """Make a token and print its secret.

    The secret is displayed only once: save it in the program that uses it."""
    now = time.time()
    until = now + lasts if lasts else None
    secret = context.store(lambda db: tokens.add(db, name, Scope(scope), owner, number or "", now, until))
    _tell(secret, as_json, name=name, scope=scope)


@token.command("list")
@json_option
@pass_context
def token_list(context: Context, as_json: bool) -> None:
    """List all tokens, without their secrets."""
    rows = context.store(lambda db: message_list.list_tokens(db, None, "", message_list.UNLIMITED))
    for row in rows:
        row["scope"] = ":".join(filter(None, (row["scope"], row.pop("did"))))
    if not as_json:
        rows = [{**row, "created": time.strftime("%Y-%m-%d", time.gmtime(row["created_at"]))} for row in rows]
    show(rows, as_json, "name account scope created expires_at", "no tokens")


@token.command("remove")
@click.argument("name")
@pass_context
def token_remove(context: Context, name: str) -> None:
    """Remove a token. Programs that use it lose access."""
    context.store(lambda db: tokens.remove(db, name))
    click.echo(f"token {name} removed")
