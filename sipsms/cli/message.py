"""Commands for single messages, conversations and the usage of the APIs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from sipsms.cli.base import Context, cli, json_line, json_option, message_cells, pass_context, phone_number, show
from sipsms.core.media_types import safe_name
from sipsms.core.message import Media


@cli.command()
@click.argument("message", type=click.IntRange(min=1))
@pass_context
def cancel(context: Context, message: int) -> None:
    """Cancel a message's deliveries that have not been sent.

    `sipsms queue` lists waiting deliveries with their message ids."""
    count = context.do("cancel", message=message)
    click.echo(f"message {message} is cancelled: {count} {'delivery' if count == 1 else 'deliveries'}")


@cli.command()
@click.argument("message", type=click.IntRange(min=1))
@click.option(
    "--media", "folder", type=click.Path(path_type=Path, file_okay=False), help="Save its files to this folder instead."
)
@json_option
@pass_context
def message(context: Context, message: int, folder: Path | None, as_json: bool) -> None:
    """Show one message with its deliveries and every attempt.

    `sipsms messages` lists the ids."""
    found = context.do("message", message=message)
    if folder is not None:
        _save_media(context, found, folder)
        return
    if as_json:
        click.echo(json_line(found))
        return
    show([message_cells(found)], False, "id created_at way from to state account carrier~ text~", "")
    for index, one in enumerate(found["media"]):
        click.echo(f"file {index}: {one['content_type']}, {one['size']} bytes")
    parts = found["deliveries"]
    show(parts, False, "id courier~ destination~ device state attempts due_at last_error~", "no deliveries")
    tries = [{"delivery": part["id"], **one} for part in parts for one in part["tries"]]
    show(tries, False, "delivery number started_at ended_at outcome detail~", "no tries yet")


def _save_media(context: Context, found: dict[str, Any], folder: Path) -> None:
    """Save the files of a message as MESSAGE-INDEX-NAME. An existing file is never overwritten."""
    from sipsms.messaging.media_store import MediaFiles

    config = context.config()
    files = MediaFiles(config.media_folder, lambda: config.base_url)
    folder.mkdir(parents=True, exist_ok=True)
    for index, one in enumerate(found["media"]):
        media = Media(**one)
        source = files.path(media.token)
        if source is None or not source.exists():
            raise click.ClickException(f"file {index} of message {found['id']} is not here")
        target = folder / f"{found['id']}-{index}-{safe_name(media.name, media.content_type)}"
        with target.open("xb") as file:
            file.write(source.read_bytes())
        click.echo(target)


@cli.command()
@click.option("--did", "number", callback=phone_number, required=True, help="Your number.")
@click.option("--limit", type=click.IntRange(1, 2000), default=50, show_default=True)
@json_option
@pass_context
def conversations(context: Context, number: str, limit: int, as_json: bool) -> None:
    """List the contacts of a number, latest first.

    Contacts and counts come from the number's newest 2,000 messages."""
    rows = context.do("conversations", number=number)
    show(rows[:limit], as_json, "contact last_at last_direction received sent last_text~", "none")


@cli.command()
@click.option("--account", "name", required=True, help="Customer to report on.")
@click.option("--days", type=click.IntRange(1, 3650), default=31, show_default=True)
@json_option
@pass_context
def usage(context: Context, name: str, days: int, as_json: bool) -> None:
    """Show how many messages a customer sent by the APIs, by day (UTC)."""
    show(context.do("usage", name=name, days=days), as_json, "day sends", "nothing")
