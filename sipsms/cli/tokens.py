"""Commands for API passwords and tokens, which are displayed only once."""

from __future__ import annotations

import json
from typing import Any

import rich_click as click

from sipsms.cli.accounts import account
from sipsms.cli.base import Context, cli, json_option, pass_context, phone_number, show
from sipsms.core.account import Scope
from sipsms.core.quantities import duration


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
        context.do("drop_api_password", name=name)
        click.echo(f"{name} has no API password any more")
        return
    _tell(context.do("make_api_password", name=name), as_json, account=name)


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
    secret = context.do("add_token", name=name, scope=scope, account=owner, did=number or "", lasts=lasts)
    _tell(secret, as_json, name=name, scope=scope)


@token.command("list")
@json_option
@pass_context
def token_list(context: Context, as_json: bool) -> None:
    """List all tokens, without their secrets."""
    rows = context.do("list_tokens")
    for row in rows:
        row["scope"] = ":".join(filter(None, (row["scope"], row.pop("did"))))
    show(rows, as_json, "name account scope created_at expires_at", "no tokens")


@token.command("remove")
@click.argument("name")
@pass_context
def token_remove(context: Context, name: str) -> None:
    """Remove a token. Programs that use it lose access."""
    context.do("remove_token", name=name)
    click.echo(f"token {name} removed")
