"""Commands that list registrations, devices, messages, the queue and carriers, and that act on these."""

from __future__ import annotations

from typing import Any

import rich_click as click

from sipsms.cli.base import Context, cli, contact, json_option, message_cells, moment, pass_context, phone_number, show

_STATES = ("queued", "sending", "accepted", "delivered", "unknown", "failed", "expired")


@cli.command()
@json_option
@pass_context
def registrations(context: Context, as_json: bool) -> None:
    """List phones that are registered now."""
    rows = context.do("list_bindings")
    show(rows, as_json, "account device expires_in received contact~ user_agent~", "nobody is registered")


@cli.group(invoke_without_command=True)
@json_option
@click.pass_context
def devices(click_context: click.Context, as_json: bool) -> None:
    """List phones that have registered before, and their waiting messages."""
    if click_context.invoked_subcommand is not None:
        return
    context: Context = click_context.obj
    rows = context.do("list_devices")
    show(rows, as_json, "device account registered waiting last_seen user_agent~ key~", "no devices yet")


@devices.command("remove")
@click.argument("device", type=int)
@pass_context
def devices_remove(context: Context, device: int) -> None:
    """Forget a phone that is gone: it gets no more messages.

    Messages that wait for it fail. If it was its account's last phone, they wait for the next one instead. A phone
    that registers again is a new device."""
    ended = context.do("remove_device", device=device)
    click.echo(f"device {device} removed; {ended['failed']} waiting failed, {ended['kept']} wait for the next phone")


@cli.command()
@click.option("--did", "number", callback=phone_number, help="Only messages of this DID.")
@click.option("--contact", callback=contact, metavar="NUMBER", help="Only messages with this other number.")
@click.option("--direction", type=click.Choice(["in", "out"]), help="in: received; out: sent.")
@click.option("--state", type=click.Choice(_STATES), help="Only messages in this state.")
@click.option("--since", callback=moment, metavar="TIME", help="From this time on: 2026-11-22, 2026-11-22T08:00:00Z.")
@click.option("--until", callback=moment, metavar="TIME", help="Before this time.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="Newest N messages.")
@json_option
@pass_context
def messages(context: Context, /, number: str | None, limit: int, as_json: bool, **given: Any) -> None:
    """List messages, oldest first.

    Details of one message: `sipsms message ID`."""
    wanted = {name: value for name, value in given.items() if value} | ({"numbers": [number]} if number else {})
    rows = context.do("list_messages", wanted=wanted, limit=limit)[::-1]
    if not as_json:
        rows = list(map(message_cells, rows))
    show(rows, as_json, "id created_at way from to state text~", "no messages")


@cli.command()
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=100, show_default=True)
@click.option(
    "--unknown", is_flag=True, help="List deliveries with an unknown outcome instead: sent, but no answer came."
)
@json_option
@pass_context
def queue(context: Context, limit: int, unknown: bool, as_json: bool) -> None:
    """List deliveries that are waiting or being sent, oldest first.

    Cancel a waiting message with `sipsms cancel MESSAGE`. Send an unknown one again with `sipsms resend DELIVERY`."""
    rows = context.do("list_queue", limit=limit, unknown=unknown)
    show(rows, as_json, "delivery message courier~ destination~ device state attempts due_at last_error~", "empty")


@cli.group(invoke_without_command=True)
@json_option
@click.pass_context
def carriers(click_context: click.Context, as_json: bool) -> None:
    """List carriers, their state and their waiting messages."""
    if click_context.invoked_subcommand is not None:
        return
    context: Context = click_context.obj
    rows = context.do("list_carriers")
    show(rows, as_json, "name type state waiting rate why~", "no carriers are configured")


@cli.command("binds")
@json_option
@pass_context
def smpp_binds(context: Context, as_json: bool) -> None:
    """List SMPP sessions, of programs bound to us and of servers we bind to."""
    rows = context.do("list_binds")
    show(rows, as_json, "direction name account peer mode tls state since sent received why~", "no SMPP sessions")


def _set_paused(context: Context, name: str, paused: bool) -> None:
    context.do("pause_carrier", name=name, paused=paused)
    click.echo(f"carrier {name} {'paused' if paused else 'resumed'}")


@carriers.command("pause")
@click.argument("name")
@pass_context
def carriers_pause(context: Context, name: str) -> None:
    """Stop sending by a carrier; its messages wait.

    Continue with `sipsms carriers resume NAME`."""
    _set_paused(context, name, True)


@carriers.command("resume")
@click.argument("name")
@pass_context
def carriers_resume(context: Context, name: str) -> None:
    """Send by a paused carrier again."""
    _set_paused(context, name, False)


# --- failed and unknown deliveries ------------------------------------------------------------------------------------


@cli.group("dead-letters", invoke_without_command=True)
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=100, show_default=True)
@json_option
@click.pass_context
def dead_letters(click_context: click.Context, limit: int, as_json: bool) -> None:
    """List deliveries to callbacks, webhooks and e-mail that failed for good.

    Repair the destination, then run `sipsms dead-letters retry`."""
    if click_context.invoked_subcommand is not None:
        return
    context: Context = click_context.obj
    rows = context.do("list_dead", limit=limit)
    show(rows, as_json, "delivery created_at did from courier destination~ state attempts last_error~", "none")


@dead_letters.command("retry")
@click.argument("delivery", type=int, required=False)
@click.option("--all", "everything", is_flag=True, help="Retry all dead letters.")
@pass_context
def dead_letters_retry(context: Context, delivery: int | None, everything: bool) -> None:
    """Try one dead letter again, or with --all every one.

    It gets all its attempts again."""
    if (delivery is None) != everything:
        raise click.UsageError("Give either a delivery or --all.")
    click.echo(f"{context.do('retry_dead', delivery=delivery)} tried again")


@cli.command()
@click.argument("delivery", type=int)
@click.option("--may-be-sent-twice", is_flag=True, help="Confirm that it may arrive, and cost, a second time.")
@pass_context
def resend(context: Context, delivery: int, may_be_sent_twice: bool) -> None:
    """Send a delivery of `queue --unknown` once more.

    It may have arrived already, so the recipient may get it twice: confirm with --may-be-sent-twice."""
    if not may_be_sent_twice:
        raise click.ClickException("it may have arrived: with --may-be-sent-twice it is sent again all the same")
    context.do("resend_unknown", delivery=delivery)
    click.echo(f"delivery {delivery} is sent again")
