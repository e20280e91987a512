"""Import, export, and messages by hand."""

from __future__ import annotations

import json
import time
from pathlib import Path

import rich_click as click

from sipsms.accounts import import_file
from sipsms.cli.base import Context, cli, json_option, moment, pass_context, phone_number, sender
from sipsms.store import import_export


@cli.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@pass_context
def import_(context: Context, file: Path) -> None:
    """Accounts, subaccounts and DIDs from YAML; what is there already stays or is changed."""
    config = context.config()
    people, numbers, groups = import_file.read(file, config.realm, config.callbacks.allow_private)
    counts = context.store(lambda db: import_export.import_all(db, people, numbers, groups, time.time()))
    click.echo(", ".join(f"{count} {what}" for what, count in counts.items()))


@cli.command()
@pass_context
def export(context: Context) -> None:
    """Accounts, subaccounts and DIDs as YAML, without passwords (only hashes are stored)."""
    import yaml

    tree = context.store(import_export.export_all)
    click.echo(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), nl=False)


# --- messages by hand ------------------------------------------------------------------------------------------------


@cli.command()
@click.option("--from", "source", required=True, callback=sender, metavar="NUMBER")
@click.option("--to", "target", required=True, callback=phone_number, metavar="DID")
@click.argument("text")
@pass_context
def receive(context: Context, source: str, target: str, text: str) -> None:
    """An SMS arrives, as if from a carrier."""
    from sipsms.cli import offline_messages

    click.echo(offline_messages.receive(context.config(), source, target, text))


@cli.command()
@click.option("--from", "source", required=True, callback=phone_number, metavar="DID")
@click.option("--to", "target", required=True, metavar="NUMBER")
@click.option("--media", multiple=True, type=click.Path(path_type=Path), help="Send this file along; up to three.")
@click.option("--at", "due_at", callback=moment, metavar="TIME", help="Not before: 2027-01-31T09:00:00Z. It is held.")
@click.argument("text")
@pass_context
def send(context: Context, source: str, target: str, media: tuple[Path, ...], due_at: float | None, text: str) -> None:
    """Send an SMS from a DID, with --media an MMS."""
    from sipsms.cli import offline_messages

    click.echo(offline_messages.send(context.config(), source, target, text, media, due_at))


@cli.command()
@click.option("--from", "source", required=True, metavar="NUMBER")
@click.option("--to", "target", required=True, metavar="NUMBER")
@click.option("--text", default="", help="Judge this text, too.")
@json_option
@pass_context
def route(context: Context, source: str, target: str, text: str, as_json: bool) -> None:
    """Which rules hit, and where a message would go."""
    from sipsms.cli import offline_messages

    found = offline_messages.route(context.config(), source, target, text)
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    for line in found["trace"]:
        click.echo(f"  {line}")
    routes = ", ".join(found["routes"]) or "nobody"
    click.echo(f"refused: {found['refused']}" if found["refused"] else f"goes to: {routes}")
