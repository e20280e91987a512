"""Commands for people: links, lists, sessions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.node.server import Node

NUMBER = "5550001111"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    made = Node(tmp_path)
    made.import_accounts({"name": "acme", "password": "x", "dids": [{"number": NUMBER}]})
    return made


def test_a_person_is_added_listed_and_removed(node: Node) -> None:
    done = node.cli("user", "add", "Luis", "--customer", "acme", "--email", "luis@example.net", "--did", "5550001111")
    assert done.stdout.startswith(f"{node.url}/password/"), "a listener on loopback is named by its address"
    assert "luis sets a password with this link, once" in done.stderr
    (row,) = node.listed("user", "list")
    assert row == {
        "name": "luis", "customer": "acme", "role": "user", "email": "luis@example.net", "dids": [NUMBER],
        "password": False, "totp": False, "link": True, "created_at": row["created_at"],
    }  # fmt: skip
    assert node.listed("user", "list", "--customer", "other") == []
    assert "luis" in node.cli("user", "list").stdout
    (made,) = node.listed("user", "password", "luis", "--reset-authenticator")
    assert made["link"] != done.stdout.strip()
    assert node.cli("user", "end-sessions", "luis").stdout == "0 sessions of luis ended\n"
    assert node.listed("user", "sessions", "luis") == []
    node.cli("user", "remove", "luis")
    assert node.listed("user", "list") == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("user", "add", "ana"), 2, "needs a customer"),
        (("user", "add", "ana", "--role", "operator", "--customer", "acme"), 2, "operator"),
        (("user", "add", "a b", "--customer", "acme"), 2, "letters, digits"),
        (("user", "add", "ana", "--customer", "nobody"), 1, "no account nobody"),
        (("user", "add", "ana", "--customer", "acme", "--did", "5550009999"), 2, "no DID 5550009999"),
        (("user", "add", "ana", "--customer", "acme", "--role", "king"), 2, "king"),
        (("user", "password", "ana"), 1, "no user ana"),
        (("user", "remove", "ana"), 1, "no user ana"),
        (("user", "sessions", "ana"), 1, "no user ana"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(node: Node, words: tuple[str, ...], code: int, said: str) -> None:
    done = node.cli(*words, check=False)
    assert done.returncode == code
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_the_centre_there_is_no_link(node: Node) -> None:
    node.write_config(web={"centre": {"enabled": False}})
    done = node.cli("user", "add", "ana", "--customer", "acme", check=False)
    assert (done.returncode, "web.centre.enabled" in done.stderr) == (1, True)
    assert node.listed("user", "list") == []


def test_the_link_has_the_public_address(node: Node) -> None:
    node.write_config(web={"url": "https://sip.example.net", "centre": {"url": "https://sms.example.net/"}})
    done = node.cli("user", "add", "boss", "--role", "operator")
    assert done.stdout.startswith("https://sms.example.net/password/")
    node.write_config(web={"url": "https://sip.example.net"})
    assert node.cli("user", "password", "boss").stdout.startswith("https://sip.example.net/password/")
