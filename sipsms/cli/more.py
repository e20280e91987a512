"""What else there is to do with messages: cancel one, see with whom a number writes, and what the APIs have sent."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import rich_click as click
from sqlalchemy import Connection

from sipsms.cli.base import Context, cli, json_option, pass_context, phone_number, show
from sipsms.store import admin, looking, pages
from sipsms.store import usage as sends


@cli.command()
@click.argument("message", type=click.IntRange(min=1))
@pass_context
def cancel(context: Context, message: int) -> None:
    """What of a message has not left yet never does."""
    count = context.store(lambda db: looking.cancel(db, message, time.time()))
    if not count:
        raise click.ClickException(f"nothing of message {message} is waiting")
    click.echo(f"message {message} is cancelled: {count} {'delivery' if count == 1 else 'deliveries'}")


@cli.command()
@click.option("--did", "number", callback=phone_number, required=True)
@click.option("--limit", type=click.IntRange(1, pages.SPOKEN), default=50, show_default=True)
@json_option
@pass_context
def conversations(context: Context, number: str, limit: int, as_json: bool) -> None:
    """With whom a DID has written, the latest first, among its newest 2,000 messages."""
    rows = context.store(lambda db: pages.conversations(db, number, lambda account, did, _at: True))
    show(rows[:limit], as_json, "contact last_at last_direction received sent last_text", "none")


@cli.command()
@click.option("--account", "name", required=True, help="A customer.")
@click.option("--days", type=click.IntRange(1, 3650), default=31, show_default=True)
@json_option
@pass_context
def usage(context: Context, name: str, days: int, as_json: bool) -> None:
    """What a customer has sent by the APIs, by day (UTC)."""
    since = (datetime.now(UTC) - timedelta(days=days - 1)).strftime("%Y-%m-%d")

    def look(db: Connection) -> list[dict[str, object]]:
        admin.customer(db, name)
        return sends.show(db, name, since)

    show(context.store(look), as_json, "day sends", "nothing")
