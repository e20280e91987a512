"""What phones are told: the documents, read back by a parser; the sealed row; the command and its QR codes."""

from __future__ import annotations

import io
import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from cli.test_cli import Host
from sqlalchemy import create_engine

from sipsms.accounts.provisioning import Settings, acrobits_xml, cloud_code, document, link, linphone_xml, server_of
from sipsms.core.ha1 import ha1
from sipsms.store import provisioning_links
from sipsms.store.engine import ensure_schema, open_engine
from sipsms.store.sqlite import sqlite3

DESK = Settings("desk", 's<&">3cret', "sip.example.net", "realm", "tls", "192.0.2.1:5071", 3600)
_NS = "{http://www.linphone.org/xsds/lpconfig.xsd}"


def entries(text: bytes) -> dict[str, dict[str, str]]:
    root = ElementTree.fromstring(text)
    assert root.tag == f"{_NS}config"
    return {section.attrib["name"]: {entry.attrib["name"]: entry.text or "" for entry in section} for section in root}


def values(text: bytes) -> dict[str, str]:
    root = ElementTree.fromstring(text)
    assert root.tag == "account"
    return {one.tag: one.text or "" for one in root}


def test_the_linphone_document_has_the_account_and_the_server() -> None:
    sections = entries(linphone_xml(DESK))
    proxy, auth = sections["proxy_0"], sections["auth_info_0"]
    assert proxy["reg_proxy"] == proxy["reg_route"] == "<sip:192.0.2.1:5071;transport=tls>"
    assert (proxy["reg_identity"], proxy["reg_expires"], proxy["reg_sendregister"]) == (
        "sip:desk@sip.example.net", "3600", "1",
    )  # fmt: skip
    assert (auth["username"], auth["passwd"], auth["realm"], auth["domain"]) == (
        "desk", 's<&">3cret', "realm", "sip.example.net",
    )  # fmt: skip
    assert sections["sip"]["im_notif_policy"] == "none"


def test_the_acrobits_document_has_the_account_and_the_server() -> None:
    fields = values(acrobits_xml(DESK))
    assert (fields["username"], fields["password"], fields["host"]) == (
        "desk",
        's<&">3cret',
        "sip.example.net",
    )
    assert (fields["transport"], fields["proxy"], fields["allowMessage"]) == (
        "tls+sip:",
        "192.0.2.1:5071",
        "1",
    )
    plain = DESK._replace(server=DESK.domain, transport="udp")
    assert values(document("acrobits", plain)).get("proxy") is None
    assert values(document("acrobits", plain))["transport"] == "udp"
    assert "outgoing proxy" not in plain.fields


def test_the_acrobits_document_of_an_app_account_has_the_web_services() -> None:
    """For an account whose app fetches: all by POST, so that no password is in a URL, and no SIP SIMPLE."""
    fields = values(acrobits_xml(DESK._replace(services="https://sms.example.net/acrobits")))
    urls = {name: value for name, value in fields.items() if name.endswith("Url")}
    assert urls == {
        "genericSmsSendUrl": "https://sms.example.net/acrobits/send",
        "genericSmsFetchUrl": "https://sms.example.net/acrobits/fetch",
        "pushTokenReporterUrl": "https://sms.example.net/acrobits/push",
    }
    for name in ("genericSmsPostData", "genericSmsFetchPostData", "pushTokenReporterPostData"):
        assert "password=%account[password]%" in fields[name]
        assert fields[name.replace("PostData", "ContentType")] == "application/x-www-form-urlencoded"
    assert fields["allowMessage"] == "0"
    assert not any("Url" in name for name in values(acrobits_xml(DESK)))


def test_addresses_and_links_have_the_form_that_each_app_reads() -> None:
    assert server_of("h", 5061, "tls") == "h"
    assert server_of("h", 5061, "tcp") == "h:5061"
    assert server_of("2001:db8::1", 5062, "udp") == "[2001:db8::1]:5062"
    assert link("https://h/sms/", "tok", "linphone") == "https://h/sms/provision/tok/linphone.xml"
    assert cloud_code("desk", "h", "tok", "ABC") == "csc:desk@h:tok@ABC"


# --- the store -------------------------------------------------------------------------------------------------------


def test_a_link_works_a_limited_number_of_times_until_it_expires(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/s.db")
    ensure_schema(engine)
    with engine.begin() as db:
        provisioning_links.create(db, "token-1", "desk", {"password": "s3cret"}, 100.0, 2)
        provisioning_links.create(db, "token-2", "desk", {"password": "s3cret"}, 100.0, 2)
        assert provisioning_links.take(db, "token-3", 1.0) is None
        assert provisioning_links.take(db, "token-1", 100.0) is None
        assert provisioning_links.take(db, "token-1", 99.0) == ("desk", {"password": "s3cret"})
        assert provisioning_links.is_there(db, "token-1", 99.0)
        assert provisioning_links.take(db, "token-1", 99.0) is not None
        assert provisioning_links.take(db, "token-1", 99.0) is None
        assert not provisioning_links.is_there(db, "token-1", 99.0)
        provisioning_links.forget(db, 99.0)
        assert db.exec_driver_sql("SELECT count(*) FROM provisions").scalar() == 1
        db.exec_driver_sql("UPDATE provisions SET sealed = X'00'")
        assert provisioning_links.take(db, "token-2", 1.0) is None
        provisioning_links.forget_account(db, "desk")
        assert db.exec_driver_sql("SELECT count(*) FROM provisions").scalar() == 0


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.path.write_text(host.path.read_text().replace("http: null", "http: http://127.0.0.1:8080"))
    host.run("account", "add", "acme", "--password", "pw-acme-0815")
    host.run("subaccount", "add", "desk", "--account", "acme", "--password", "s3cret-desk")
    return host


def made(host: Host, *arguments: str) -> dict[str, Any]:
    return dict(json.loads(host.run("subaccount", "provision", "desk", *arguments, "--json").out))


def rows(host: Host, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(host.folder / "sipsms.db") as db:
        return db.execute(query).fetchall()


@pytest.mark.req("A-48")
def test_the_store_holds_neither_password_nor_token(host: Host) -> None:
    printed = made(host, "--password", "s3cret-desk")
    token = printed["linphone"].split("/")[-2]
    assert len(token) == 32
    assert printed["acrobits"] == f"http://sip.example.net:8080/provision/{token}/acrobits.xml"
    assert "password" not in printed
    stored = b"".join(path.read_bytes() for path in host.folder.glob("sipsms.db*"))
    assert b"desk" in stored
    assert b"s3cret-desk" not in stored
    assert token.encode() not in stored
    engine = create_engine(f"sqlite:///{host.folder}/sipsms.db")
    with engine.begin() as db:
        fetched = provisioning_links.take(db, token, printed["expires_at"] - 1)
    assert fetched is not None
    assert Settings(fetched.account, **fetched.secret) == Settings(
        "desk", "s3cret-desk", "sip.example.net", "sip.example.net", "tcp", "sip.example.net", 3600
    )


def test_a_new_password_is_set_and_shown_once(host: Host) -> None:
    made(host, "--password", "s3cret-desk")
    printed = made(host, "--new-password", "--transport", "udp", "--fetches", "1", "--expires", "30m")
    assert rows(host, "SELECT ha1_md5 FROM accounts WHERE name = 'desk'") == [
        (ha1("desk", "sip.example.net", printed["password"]),)
    ]
    assert rows(host, "SELECT count(*), max(fetches_left) FROM provisions") == [(1, 1)]  # older links are dead
    assert printed["transport"] == "udp"
    shown = host.run("account", "provision", "desk", "--password", printed["password"])
    assert printed["password"] not in shown.out
    assert "not encrypted" in shown.err
    host.run("account", "passwd", "desk", "--password", "another")
    assert rows(host, "SELECT count(*) FROM provisions") == [(0,)]
    made(host, "--password", "another")
    host.run("subaccount", "remove", "desk")
    assert rows(host, "SELECT count(*) FROM provisions") == [(0,)]


def test_the_command_refuses_wrong_passwords_and_options(host: Host) -> None:
    def refused(*arguments: str, code: int = 1) -> str:
        return host.run("subaccount", "provision", *arguments, code=code).err

    assert "that is not the password of desk" in refused("desk", "--password", "wrong")
    assert "that is not the password of desk" in refused("desk", "--password", "")
    assert "no account nobody" in refused("nobody", "--new-password")
    assert "listen.sip has no tls://" in refused("desk", "--new-password", "--transport", "tls")
    assert "--new-password" in refused("desk", code=2)
    refused("desk", "--new-password", "--password", "s3cret-desk", code=2)
    refused("desk", "--new-password", "--expires", "soon", code=2)
    host.path.write_text(host.path.read_text().replace("http: http://127.0.0.1:8080", "http: null"))
    assert "listen.http is null" in refused("desk", "--new-password")
    assert rows(host, "SELECT count(*) FROM provisions") == [(0,)]
    assert rows(host, "SELECT ha1_md5 FROM accounts WHERE name = 'desk'") == [
        (ha1("desk", "sip.example.net", "s3cret-desk"),)
    ]


def test_at_a_terminal_the_command_asks_for_the_password(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sipsms.cli.accounts.click.prompt", lambda text, hide_input: "s3cret-desk")
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert "password" not in made(host)


def test_the_options_set_url_server_and_cloud_id(host: Host) -> None:
    host.path.write_text(host.path.read_text() + "web: {url: https://sip.example.net/sms}\n")
    done = host.run("subaccount", "provision", "desk", "--password", "s3cret-desk", "--server", "192.0.2.1:5070",
                    "--transport", "tls")  # fmt: skip
    assert done.err == ""
    assert "Linphone: https://sip.example.net/sms/provision/" in done.out
    assert "outgoing proxy           192.0.2.1:5070" in done.out
    printed = made(host, "--password", "s3cret-desk", "--cloud-id", "ABC", "--url", "https://other.example.net")
    token = printed["linphone"].split("/")[-2]
    assert printed["linphone"] == f"https://other.example.net/provision/{token}/linphone.xml"
    assert printed["code"] == f"csc:desk@sip.example.net:{token}@ABC"


@pytest.mark.parametrize("app", ["linphone", "acrobits"])
def test_the_qr_code_contains_the_link(host: Host, app: str) -> None:
    picture, drawing = host.folder / "code.png", host.folder / "code.svg"
    printed = made(host, "--password", "s3cret-desk", "--png", str(picture), "--app", app)
    assert stat.S_IMODE(picture.stat().st_mode) == 0o600
    assert picture.read_bytes().startswith(b"\x89PNG")
    made(host, "--password", "s3cret-desk", "--svg", str(drawing))
    assert ElementTree.parse(drawing).getroot().tag.endswith("svg")
    if shutil.which("zbarimg") is None:
        pytest.skip("zbar-tools is not installed")
    read = subprocess.run(["zbarimg", "-q", "--raw", str(picture)], capture_output=True, text=True, check=True)
    assert read.stdout.strip() == printed[app]


@pytest.mark.skipif(shutil.which("zbarimg") is None, reason="zbar-tools is not installed")
def test_the_qr_code_in_the_terminal_can_be_read(host: Host, tmp_path: Path) -> None:
    """Its half blocks, drawn as a picture, say the same."""
    out = host.run("subaccount", "provision", "desk", "--password", "s3cret-desk").out
    title, _, rest = out.partition("\n\n")
    halves = {"█": (1, 1), "▀": (1, 0), "▄": (0, 1), " ": (0, 0)}
    lines = [[halves[char] for char in line] for line in rest.partition("\n\n")[0].splitlines()]
    pixels = [[pair[half] for pair in line for _ in range(4)] for line in lines for half in (0, 1) for _ in range(4)]
    picture = tmp_path / "terminal.pgm"
    body = "\n".join(" ".join("255" if light else "0" for light in row) for row in pixels)
    picture.write_text(f"P2\n{len(pixels[0])} {len(pixels)}\n255\n{body}\n")
    read = subprocess.run(["zbarimg", "-q", "--raw", str(picture)], capture_output=True, text=True, check=True)
    assert read.stdout.strip() == title.partition(": ")[2]
