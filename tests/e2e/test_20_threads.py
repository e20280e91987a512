"""An account with two DIDs answers from the one that its peer last wrote to: by SIP, Acrobits and /v1, durably."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from pathlib import Path

from tests.support.http.v1 import HANDSET, ApiNode
from tests.support.sip.wire import Phone

FIRST, SECOND = "5550001111", "5550007777"


def test_answers_leave_from_the_did_of_the_thread(tmp_path: Path) -> None:
    with ApiNode(tmp_path) as node:
        node.cli("did", "add", SECOND, "--account", "anna", "--sip-account", "anna")
        node.cli("account", "set", "anna", "--reply-from-thread")
        assert [row["reply_from_thread"] for row in node.listed("account", "list") if row["name"] == "anna"] == [True]
        assert node.get("/accounts/anna", "anna").json["reply_from_thread"] is True
        with Phone(node.address, "anna", "secret-of-anna") as phone:
            assert phone.message(HANDSET, "before").status == 202
            node.post("/incoming", {"from": HANDSET, "to": SECOND, "text": "hello"})
            assert phone.message(HANDSET, "by sip").status == 202
            named = phone.message_draft(HANDSET).set("From", f"<sip:{FIRST}@sip.example.net>;tag=1")
            assert phone.authenticated(named).status == 202
        assert node.send("by v1").json["from"] == SECOND
        _acrobits(node, "by acrobits")
        assert f"caller ID {SECOND}: the number that {HANDSET} last wrote to" in _route(node)
        node.stop()
        node.start()
        assert node.send("after a restart").json["from"] == SECOND
        sent = [(one["text"], one["from"]) for one in node.listed("messages") if one["direction"] == "out"]
        expected = {
            "before": FIRST, "by sip": SECOND, "by v1": SECOND, "by acrobits": SECOND, "after a restart": SECOND,
        }  # fmt: skip
        assert {text: number for text, number in sent if text in expected} == expected
        assert sorted(number for text, number in sent if text not in expected) == [FIRST]
        assert node.patch("/accounts/anna", {"reply_from_thread": False}, "anna").json["reply_from_thread"] is False
        assert node.send("switched off").json["from"] == FIRST


def _acrobits(node: ApiNode, text: str) -> None:
    fields = {"username": "anna", "password": "secret-of-anna", "sms_to": HANDSET, "sms_body": text}
    with urllib.request.urlopen(f"{node.url}/acrobits/send", urllib.parse.urlencode(fields).encode()) as answer:
        assert "sms_id" in json.loads(answer.read())


def _route(node: ApiNode) -> str:
    return node.cli("route", "--from", "anna", "--to", HANDSET).stdout
