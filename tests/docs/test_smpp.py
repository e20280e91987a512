"""docs/smpp.md and docs/carriers/smpp.md: their commands run, their statuses and receipts are the code's."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from sipsms.messaging.order import MAX_LONG
from sipsms.smpp import concat_refs
from sipsms.smpp.courier import BUSY, NEVER
from sipsms.smpp.pdu import Status
from sipsms.smpp.receipt import parse
from sipsms.smpp.resend_detection import AGAIN
from sipsms.smpp.settings import SmppConfig, SmppSettings
from tests.support.node.server import Node, free_port

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "smpp.md").read_text()
CARRIER = (DOCS / "carriers" / "smpp.md").read_text()
USED = {"0x61": Status.INVALID_SCHEDULE, "0x62": Status.INVALID_EXPIRY}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.S | re.M)


@pytest.mark.e2e
def test_the_commands_of_the_page_work(tmp_path: Path) -> None:
    node = Node(tmp_path)
    listen = {**node.settings["listen"], "smpp": [f"smpp://127.0.0.1:{free_port()}"]}
    node.write_config(listen=listen)
    node.cli("account", "add", "demo", "--password", "demo-password")
    node.cli("did", "add", "5550001111", "--account", "demo")
    with node:
        for line in "".join(blocks(PAGE, "sh")).splitlines():
            done = node.cli(*shlex.split(line, comments=True)[1:])
            assert done.returncode == 0, (line, done.stdout, done.stderr)


def test_the_table_of_statuses_agrees_with_the_code() -> None:
    named = {int(one, 16) for one in re.findall(r"^\| `(0x[0-9A-F]+)`", PAGE, re.M)}
    assert named <= set(Status)
    assert f"0x{Status.THROTTLED:02X}" in PAGE
    again = PAGE[PAGE.index("- **After 0x08") : PAGE.index("or without an answer")]
    assert {int(one, 16) for one in re.findall("0x[0-9a-f]+", again)} == BUSY - {Status.WRONG_BIND_STATE}
    ends = PAGE[PAGE.index("gets nothing twice.") : PAGE.index("the delivery fails. After any other")]
    assert {int(one, 16) for one in re.findall("0x[0-9A-F]+", ends)} == NEVER


def test_the_numbers_of_the_page_agree_with_the_code() -> None:
    assert f"up to {MAX_LONG:,} characters" in PAGE
    assert f"A window of {SmppSettings().window}" in PAGE
    assert (AGAIN, concat_refs.PATIENCE) == (60.0, 300.0)  # "for a minute", "after five minutes"
    assert SmppSettings().max_binds == 10


def test_the_receipt_of_the_page_agrees_with_the_code() -> None:
    (text,) = re.findall("^id:.*$", PAGE, re.M)
    assert parse(text)[:2] == ("4711", "DELIVRD")


def test_the_carrier_of_the_page_is_a_valid_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSC_PASSWORD", "s3cretpw")
    (text,) = blocks(CARRIER, "yaml")
    config = SmppConfig.model_validate(yaml.safe_load(text)["carriers"]["acme"])
    assert (config.binds, config.window, config.url.port) == (2, 10, 3550)
    options = re.findall(r"^\| `(\w+)`", CARRIER, re.M)
    assert set(options) - {"source_ton"} <= set(SmppConfig.model_fields)
