"""Commands for the server: serve, check-config, migrate, demo, trace, softphone."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import rich_click as click

from sipsms.app.settings import literal_secrets, load_dialplan, short_secrets
from sipsms.cli.base import Context, cli, json_option, pass_context
from sipsms.core.yaml_file import Document
from sipsms.store import sqlite
from sipsms.store.engine import HEAD, Locked, ensure_schema, lock, open_engine, version_of


@cli.command()
@pass_context
def serve(context: Context) -> None:
    """Run the server until SIGTERM or Ctrl-C.

    SIGHUP reloads the configuration. Run `sipsms check-config` first."""
    from sipsms.app import node

    config = context.config(secrets=True)
    node.serve(config, context.path)


@cli.command("check-config")
@pass_context
def check_config(context: Context) -> None:
    """Check the configuration and the dialplan for errors.

    Prints warnings about secrets. Next, run `sipsms serve`, or send SIGHUP to a running server."""
    from sipsms.sip.tls import ServerCertificate

    config = context.config(secrets=True)
    load_dialplan(config)
    if config.tls is not None:
        ServerCertificate(config.tls.certificate, config.tls.key)
    for line in [*literal_secrets(Document.read(context.path)), *short_secrets(config.carriers)]:
        click.echo(f"warning: {line}", err=True)
    folder = Path(config.store_url.removeprefix("sqlite:///")).parent
    if config.store_url.startswith("sqlite:///") and not folder.is_dir():
        click.echo(f"warning: store: the folder {folder} does not exist; the server will make it", err=True)
    if why := sqlite.warning():
        click.echo(f"warning: {why}", err=True)
    click.echo(f"SQLite {sqlite.VERSION}\n{context.path}: good")


@cli.command()
@pass_context
def migrate(context: Context) -> None:
    """Upgrade the database schema to this version.

    The server does this at its start, too."""
    config = context.config()
    engine = open_engine(config.store_url)
    try:
        held = lock(engine, "command")
    except Locked:
        click.echo(f"schema {HEAD}: nothing to do, a server is running")
        return
    with held or nullcontext():
        before = version_of(engine)
        changed = ensure_schema(engine)
    engine.dispose()
    click.echo(f"schema {before or 'none'} -> {HEAD}" if changed else f"schema {HEAD}: nothing to do")


@cli.command()
@click.option("--once", is_flag=True, help="Exit after the demo, with 0 only if every step was seen.")
@pass_context
def demo(context: Context, once: bool) -> None:
    """Show the main functions with real softphones, then keep serving.

    The softphones need an optional package: pip install '.[softphone]'."""
    from sipsms.cli.demo import play

    context.config(secrets=True)
    sys.exit(play.run(context.path, once=once))


@cli.command()
@click.option("--account", default="", metavar="NAME", help="Show only messages of this account.")
@click.option("--full", is_flag=True, help="Show whole messages with their texts.")
@click.option("--count", type=click.IntRange(1), help="Stop after N messages.")
@json_option
@pass_context
def trace(context: Context, account: str, full: bool, count: int | None, as_json: bool) -> None:
    """Show the SIP messages of the running server as they pass.

    Stop with Ctrl-C."""
    from sipsms.cli import trace as tracing

    try:
        tracing.show(context.config(), account, full, as_json, count or 0, click.echo)
    except tracing.NotRunning as error:
        raise click.ClickException(str(error)) from None


@cli.command()
@click.argument("name")
@click.option("--password", prompt=True, hide_input=True, help="Password of the account. Prompts if missing.")
@click.option("--server", required=True, metavar="HOST:PORT")
@click.option("--transport", type=click.Choice(["udp", "tcp", "tls"]), default="udp", show_default=True)
@click.option("--to", metavar="NUMBER", help="Send TEXT to this number and exit.")
@click.argument("text", required=False)
def softphone(name: str, password: str, server: str, transport: str, to: str | None, text: str | None) -> None:
    """Run a softphone in the terminal.

    It shows incoming messages and sends lines of the form `NUMBER text`. Needs: pip install '.[softphone]'."""
    from sipsms.cli import softphone as phone

    if (to is None) != (text is None):
        raise click.UsageError("--to NUMBER and TEXT go together")
    sys.exit(phone.run_interactive(name, password, server, to, text, transport=transport))
