"""docs/api/v1.md says what /v1 does; that its commands run is seen by test_docs_api."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click import Context

from sipsms.accounts.auth import Caller
from sipsms.accounts.directory import Directory
from sipsms.cli import cli
from sipsms.core.account import Scope
from sipsms.core.media_types import MAX_TEXT
from sipsms.core.message import Direction, Message
from sipsms.messaging.event_stream import KEPT, EventStream
from sipsms.store import blocks, tokens
from sipsms.store.message_list import SCAN, SPOKEN
from sipsms.web.api.v1 import dids, events, middleware, paging
from sipsms.web.api.v1.permissions import Permissions
from tests.support.http.v1 import HANDSET, ApiNode

PAGE = (Path(__file__).parents[2] / "docs" / "api" / "v1.md").read_text()


def block(word: str) -> str:
    (found,) = [text for text in re.findall(r"^```json\n(.*?)^```", PAGE, re.S | re.M) if word in text]
    return str(found)


@pytest.mark.e2e
def test_the_answers_of_the_page_agree_with_the_api(tmp_path: Path) -> None:
    with ApiNode(tmp_path) as node:
        sent = node.send("Hello", "anna")
        assert sent.json == json.loads(block('"accepted"'))
        assert node.send("x" * 161, "anna").problem == json.loads(block("too-long"))


def test_the_events_of_the_page_agree_with_the_api() -> None:
    named = set(re.findall(r"`(message\.\w+|reset)`", PAGE.partition("## Events")[2]))
    assert named == {*events._NAMES.values(), "message.received", "message.accepted", "reset"}
    line = re.search(r"^data: (.*)$", PAGE, re.M)
    assert line is not None
    feed = EventStream(lambda: 1.0)
    feed.note(
        Message(Direction.OUT, "5550001111", HANDSET, "x", "v1", 1.0, "a", "5550001111", id=1), "delivered", "sip"
    )
    (change,) = feed.after(0)
    told = events._event(feed, change, Permissions(Caller(None, Scope.OPERATOR, "op"), Directory())).decode()
    assert set(json.loads(told.partition("data: ")[2])) == set(json.loads(line[1]))


def test_the_figures_of_the_page_agree_with_the_code() -> None:
    for figure in (f"{SCAN:,} messages", f"newest {SPOKEN:,} messages", f"last {KEPT:,} changes", f"files {MAX_TEXT:,}",
                   f"at most {paging.MOST}", f"over {middleware.SMALL // 1024} KB",
                   f"message {middleware.LARGE // 2**20} MB",
                   f"every {events.KEEP_ALIVE:.0f} seconds", f"for {events.SLOW:.0f} seconds",
                   f"{events.OF_ONE} streams, all together {events.STREAMS}", f"its tokens {events.OF_CUSTOMER}",
                   f"{tokens.MOST} tokens", f"{dids.GROUPS:,} groups", f"{blocks.MOST:,} blocks"):  # fmt: skip
        assert figure in " ".join(PAGE.split()), figure


def test_every_other_command_has_an_equivalent_in_the_api() -> None:
    """Every other command has its like in the API."""
    alike = {
        "account", "subaccount", "did", "group", "block", "token", "message", "messages", "registrations", "devices",
        "queue", "carriers", "dead-letters", "resend", "webhooks", "receive", "send", "route", "cancel",
        "conversations", "usage", "binds",
    }  # fmt: skip
    here = set(re.findall(r"`([a-z-]+)`", PAGE.partition("## By the command line only")[2].partition(":")[0]))
    assert set(cli.list_commands(Context(cli))) == alike | here
