"""The rooms and who may import whom: the one list that docs/architecture.md shows and the tests check.

`python -m tests.house.rules` writes the block of docs/architecture.md anew.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "architecture.md"
BLOCK: Final = re.compile(r"(?<=<!-- rooms: written by python -m tests.house.rules -->\n).*?(?=<!-- end -->)", re.S)

# From left to right: a room imports only rooms of earlier rows, never one of its own row.
ROOMS: Final = (
    ("core",), ("routing", "store"), ("accounts",), ("messaging",), ("carriers", "sip", "smpp", "mail", "web"),
    ("app",), ("cli",),
)  # fmt: skip

# What each room is for, as docs/architecture.md has it.
PURPOSE: Final = {
    "core": "nouns and pure tools; imports nothing of ours",
    "routing": "dialplan and numbering policy: pure decisions",
    "store": "all SQL: tables, migrations, the writer; one file a table group",
    "accounts": "directory, authentication, people and sign-in, quota, changes to accounts and DIDs, provisioning",
    "messaging": "gateway, planner, queue, checks, messages in, reports, opt-out, media: what happens to a message",
    "carriers": "one file a carrier, and what they share",
    "sip": "codec, machines, transport, server, courier, trunk",
    "smpp": "codec, session, server (SMSC), carrier, courier",
    "mail": "an SMS as e-mail, and the way to the mail server",
    "web": "HTTP: server, client, hooks, APIs, outgoing callbacks and webhooks, the message centre",
    "app": "settings and composition: the only room that builds the parts, runs and reloads them",
    "cli": "the command line, one file a command group; demo and softphone",
}

# Modules that get bytes and `now` and give back values: no asyncio, clock, chance, socket or file.
PURE: Final = frozenset({
    "core.account", "core.admission", "core.charset", "core.courier_id", "core.directory_rows", "core.e164",
    "core.errors", "core.flow_address", "core.ha1", "core.lane_key", "core.media_types", "core.message",
    "core.network", "core.quantities", "core.queue_rows", "core.refusal", "core.registration",
    "core.report_request", "core.segmentation", "core.smpp_url", "core.ssrf", "core.user", "routing.dialplan",
    "routing.numbering", "accounts.provisioning", "accounts.sign_in_backoff", "mail.mime", "messaging.content_policy",
    "messaging.delivery_reports", "messaging.imdn", "messaging.opt_out_keywords", "messaging.planner",
    "messaging.queue.backoff", "messaging.queue.failover", "messaging.queue.lanes", "sip.auth_limiter",
    "sip.body_reader", "sip.body_writer", "sip.device_identity", "sip.digest", "sip.digest_client",
    "sip.expiry_heap", "sip.flood_limiter", "sip.flow_token", "sip.headers", "sip.hep", "sip.message", "sip.pidf",
    "sip.presence", "sip.proxy", "sip.registrar", "sip.stun", "sip.trace_summary", "sip.transaction", "sip.uri",
    "sip.usual", "smpp.concat_refs", "smpp.data_coding", "smpp.pdu", "smpp.receipt", "smpp.resend_detection",
    "smpp.session", "smpp.submit_sm", "smpp.throttle", "web.api.acrobits.format", "web.api.kannel.format",
    "web.api.wildix.format", "web.centre.words", "web.outbound.webhook_payload",
})  # fmt: skip
NOT_PURE: Final = frozenset({"asyncio", "time", "random", "secrets", "socket", "threading", "subprocess", "selectors"})

# Library -> the rooms that may import it.
HOMES: Final = {
    "sqlalchemy": ("store",), "alembic": ("store",), "starlette": ("web",), "fastapi": ("web",), "uvicorn": ("web",),
    "aiohttp": ("web",), "aiosmtplib": ("mail",), "redis": ("app", "sip"), "pjsua2": ("cli",), "click": ("cli",),
    "rich_click": ("cli",), "jinja2": ("web",), "argon2": ("accounts",), "pyotp": ("accounts",),
}  # fmt: skip


def left_of(room: str) -> frozenset[str]:
    """The rooms that this one may import."""
    found: list[str] = []
    for row in ROOMS:
        if room in row:
            return frozenset(found)
        found += row
    raise KeyError(room)


def in_one_line() -> str:
    """The order, as docs/architecture.md writes it."""
    return " < ".join((" | " if len(row) > 2 else ", ").join(row) for row in ROOMS)


def block() -> str:
    """The block of docs/architecture.md: the order, and a row a room."""
    lines = ["```", in_one_line(), "```", "", "| room | for | modules |", "|---|---|---|"]
    for row in ROOMS:
        lines += [f"| `{room}` | {PURPOSE[room]} | {_modules(room)} |" for room in row]
    pure = ", ".join(f"`{name}`" for name in sorted(PURE))
    return "\n".join([*lines, "", f"Pure modules: {pure}.", ""])


def _modules(room: str) -> str:
    folder = ROOT / "sipsms" / room
    names = (path.relative_to(folder).with_suffix("").as_posix() for path in sorted(folder.rglob("*.py")))
    return " ".join(name for name in names if not name.endswith("__init__") and "migrations" not in name)


if __name__ == "__main__":
    PAGE.write_text(BLOCK.sub(lambda _: block(), PAGE.read_text()))
