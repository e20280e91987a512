"""Commands for blocked numbers."""

from __future__ import annotations

from typing import Any

import rich_click as click

from sipsms.cli.base import Context, cli, json_option, pass_context, phone_number, sender, show


@cli.group()
def block() -> None:
    """Manage blocked numbers, including numbers that sent STOP."""


def _whose(command: Any) -> Any:
    for option in (
        click.option(
            "--direction",
            type=click.Choice(["in", "out", "both"]),
            default="both",
            show_default=True,
            help="in: from the number; out: to the number.",
        ),
        click.option(
            "--account", "customer", help="For all DIDs of a customer. Without --account and --did: for all DIDs."
        ),
        click.option("--did", callback=phone_number, help="Only for this DID."),
    ):
        command = option(command)
    return command


def _put(context: Context, number: str, did: str | None, customer: str | None, direction: str, active: bool) -> int:
    """Switch blocks on or off. Return how many changed."""
    if did and customer:
        raise click.UsageError("Give either --did or --account.")
    ways = ["in", "out"] if direction == "both" else [direction]
    count = context.do("put_blocks", number=number, did=did, customer=customer, directions=ways, active=active)
    return int(count)


@block.command("add")
@click.argument("number", callback=sender)
@_whose
@pass_context
def block_add(context: Context, number: str, did: str | None, customer: str | None, direction: str) -> None:
    """Block messages from and to a number.

    Undo with `sipsms block remove`."""
    _put(context, number, did, customer, direction, True)
    click.echo(f"{number} is blocked for {did or customer or 'everybody'}")


@block.command("remove")
@click.argument("number", callback=sender)
@_whose
@pass_context
def block_remove(context: Context, number: str, did: str | None, customer: str | None, direction: str) -> None:
    """Remove a block, also one made by a STOP message."""
    if not _put(context, number, did, customer, direction, False):
        raise click.ClickException(f"{number} is not blocked for {did or customer or 'everybody'}")
    click.echo(f"{number} is not blocked for {did or customer or 'everybody'} any more")


@block.command("list")
@click.option("--owner", default="", help="Only blocks of this DID, customer, or * (blocks for all).")
@json_option
@pass_context
def block_list(context: Context, owner: str, as_json: bool) -> None:
    """List all blocks."""
    show(context.do("list_blocks", owner=owner), as_json, "owner number direction reason created_at", "none")
