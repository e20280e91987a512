"""Commands for import and export, and for sending and receiving messages by hand."""

from __future__ import annotations

import base64
from pathlib import Path

import rich_click as click

from sipsms.cli.base import Context, cli, json_line, json_option, moment, pass_context, phone_number, sender


@cli.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Check the file and count what it would change, without a change.")
@json_option
@pass_context
def import_(context: Context, file: Path, dry_run: bool, as_json: bool) -> None:
    """Import accounts, subaccounts, groups and DIDs from a YAML or CSV file.

    New entries are added and existing ones changed; no account or DID is removed. `sipsms export` prints a YAML file to
    start from. A CSV file has the columns name, customer, password, caller_id and dids."""
    from sipsms.accounts import import_file

    config = context.config()
    given = import_file.read(file, config.realm, config.callbacks.allow_private)
    counts = context.do("import_all", **given.to_json(), dry_run=dry_run)
    if as_json:
        click.echo(json_line({**counts, "dry_run": dry_run}))
        return
    said = ", ".join(f"{count} {what}" for what, count in counts.items())
    click.echo(f"dry run, nothing is changed: {said}" if dry_run else said)


@cli.command()
@pass_context
def export(context: Context) -> None:
    """Print accounts, subaccounts, groups and DIDs as YAML.

    Passwords and secrets are left out. The file can be changed and imported again."""
    import yaml

    tree = context.do("export_all")
    click.echo(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), nl=False)


# --- messages by hand ------------------------------------------------------------------------------------------------


@cli.command()
@click.option("--from", "source", required=True, callback=sender, metavar="NUMBER")
@click.option("--to", "target", required=True, callback=phone_number, metavar="DID")
@click.argument("text")
@pass_context
def receive(context: Context, source: str, target: str, text: str) -> None:
    """Deliver a test SMS to a number, as if a carrier had sent it."""
    click.echo(f"message {context.do('receive', source=source, target=target, text=text)} accepted")


@cli.command()
@click.option("--from", "source", required=True, callback=phone_number, metavar="DID")
@click.option("--to", "target", required=True, metavar="NUMBER")
@click.option(
    "--media", multiple=True, type=click.Path(path_type=Path), help="File to send with the text; up to three."
)
@click.option("--at", "due_at", callback=moment, metavar="TIME", help="Send at this time: 2027-01-31T09:00:00Z.")
@click.argument("text")
@pass_context
def send(context: Context, source: str, target: str, media: tuple[Path, ...], due_at: float | None, text: str) -> None:
    """Send an SMS from a number, or with --media an MMS.

    `sipsms message ID` shows what becomes of it."""
    files = [{"name": path.name, "data": base64.b64encode(_read(path)).decode()} for path in media]
    sent = context.do("send", source=source, target=target, text=text, files=files, due_at=due_at)
    click.echo(f"message {sent} accepted")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None


@cli.command()
@click.option("--from", "source", required=True, metavar="NUMBER", help="Sender: a number, or an account's name.")
@click.option("--to", "target", required=True, metavar="NUMBER")
@click.option("--text", default="", help="Text to check against the content rules.")
@json_option
@pass_context
def route(context: Context, source: str, target: str, text: str, as_json: bool) -> None:
    """Show the matching rules and the route of a message without sending it."""
    found = context.do("route", source=source, target=target, text=text)
    if as_json:
        click.echo(json_line(found))
        return
    for line in found["trace"]:
        click.echo(f"  {line}")
    routes = ", ".join(found["routes"]) or "nobody"
    click.echo(f"refused: {found['refused']}" if found["refused"] else f"goes to: {routes}")
