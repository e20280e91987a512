"""Commands for users: the people who sign in to the message centre."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import rich_click as click

from sipsms.cli.base import Context, cli, json_option, pass_context, phone_number, show
from sipsms.core.errors import BadValue
from sipsms.core.quantities import duration
from sipsms.core.user import Role

_expires = click.option(
    "--expires", "lasts", type=duration, default="3d", show_default=True, help="Lifetime of the link: 12h, 3d."
)


@cli.group()
def user() -> None:
    """Manage people who sign in to the message centre."""


def _numbers(context: Any, param: Any, given: tuple[str, ...]) -> list[str]:
    return [number for one in given if (number := phone_number(context, param, one))]


def _tell(made: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(made))
        return
    click.echo(made["link"])
    until = datetime.fromtimestamp(made["expires_at"], UTC).strftime("%Y-%m-%d %H:%M UTC")
    click.echo(f"{made['name']} sets a password with this link, once, until {until}", err=True)


@user.command("add")
@click.argument("name")
@click.option("--customer", default="", metavar="ACCOUNT", help="Customer that the person works for.")
@click.option(
    "--role",
    type=click.Choice([str(role) for role in Role]),
    default="user",
    show_default=True,
    help="user: the DIDs that are given; customer: all of the customer; operator: the whole server.",
)
@click.option("--email", default="", help="Another name at sign-in.")
@click.option("--did", "numbers", multiple=True, callback=_numbers, help="For role user: a DID. Give it once for each.")
@_expires
@json_option
@pass_context
def user_add(
    context: Context, name: str, customer: str, role: str, email: str, numbers: list[str], lasts: float, as_json: bool
) -> None:
    """Add a person, and print the link by which they set their password."""
    try:
        made = context.do(
            "add_user", name=name, role=role, customer=customer, email=email, numbers=numbers, lasts=lasts
        )
    except BadValue as error:
        raise click.UsageError(error.why) from None
    _tell(made, as_json)


@user.command("list")
@click.option("--customer", default="", metavar="ACCOUNT", help="Only the people of this customer.")
@json_option
@pass_context
def user_list(context: Context, customer: str, as_json: bool) -> None:
    """List people."""
    rows = context.do("list_users", customer=customer)
    if not as_json:
        rows = [{**row, "dids": " ".join(row["dids"]), "authenticator": row["totp"]} for row in rows]
    show(rows, as_json, "name customer role email dids password authenticator created_at", "no users")


@user.command("remove")
@click.argument("name")
@pass_context
def user_remove(context: Context, name: str) -> None:
    """Remove a person. Their browsers are signed out."""
    context.do("remove_user", name=name)
    click.echo(f"user {name} removed")


@user.command("password")
@click.argument("name")
@click.option("--reset-authenticator", "reset_totp", is_flag=True, help="Also remove a lost authenticator app.")
@_expires
@json_option
@pass_context
def user_password(context: Context, name: str, lasts: float, reset_totp: bool, as_json: bool) -> None:
    """Print a new link to set a password.

    The present password works until the link is used."""
    _tell(context.do("make_password_link", name=name, lasts=lasts, reset_totp=reset_totp), as_json)


@user.command("sessions")
@click.argument("name")
@json_option
@pass_context
def user_sessions(context: Context, name: str, as_json: bool) -> None:
    """List the browsers in which a person is signed in."""
    rows = context.do("list_user_sessions", name=name)
    show(rows, as_json, "address agent~ since last_seen ends_at", "not signed in")


@user.command("end-sessions")
@click.argument("name")
@pass_context
def user_end_sessions(context: Context, name: str) -> None:
    """Sign a person out everywhere."""
    count = context.do("end_user_sessions", name=name)
    click.echo(f"{count} {'session' if count == 1 else 'sessions'} of {name} ended")
