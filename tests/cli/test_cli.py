"""The command line as an operator types it: what it does, what it says, and how it ends (0, 1, 2).

Most commands run in this process through click's runner around `main`, the few that matter as programs in one.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from click import Context

from sipsms import __version__
from sipsms.cli import base, cli, main
from sipsms.cli.base import json_line
from sipsms.core.ha1 import ha1
from sipsms.store.sqlite import sqlite3


class Done(NamedTuple):
    code: int
    out: str
    err: str


class Host:
    """A configuration and its store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "sipsms.yaml"
        self.path.write_text(
            yaml.safe_dump({"domain": "sip.example.net", "store": "sqlite:///sipsms.db", "listen": {"http": None},
                            "carriers": {"sim": {"type": "loopback"}}})
        )  # fmt: skip

    def run(self, *arguments: str, code: int = 0, config: bool = True, one_line: bool = True) -> Done:
        """Run `main` with these arguments; raises AssertionError unless it ends with `code`."""
        argv = ["sipsms", *(["-c", str(self.path)] if config else []), *arguments]
        out, err = io.StringIO(), io.StringIO()
        ended = 0
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            patch.setattr(sys, "argv", argv)
            try:
                main()
            except SystemExit as error:
                ended = int(error.code or 0)
        done = Done(ended, out.getvalue(), err.getvalue())
        assert done.code == code, f"{arguments} -> {done}"
        if code:
            assert done.err.startswith("sipsms: "), done
            assert done.err.count("\n") == 1 or not one_line, f"one line: {done.err}"
        return done

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.run(*arguments, "--json").out.splitlines()]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def customer(host: Host) -> Host:
    """With a customer, a subaccount, two DIDs and a message."""
    host.run("account", "add", "acme", "--password", "pw", "--caller-id", "5550001111")
    host.run("subaccount", "add", "acme-1", "--account", "acme", "--password", "pw1", "--caller-id", "5550001111")
    host.run("did", "add", "5550001111", "--account", "acme", "--sip-account", "acme-1")
    host.run("did", "add", "(555) 000-2222", "--account", "acme", "--no-sms")
    return host


# --- what it does ----------------------------------------------------------------------------------------------------


def test_accounts_and_dids_are_added_listed_and_removed(customer: Host) -> None:
    api = {
        "api": False,
        "api_daily_limit": None,
        "api_allow_ip": "",
        "email": "",
        "reseller": "",
        "app_messages": False,
        "smpp_rate": None,
        "reply_from_thread": False,
    }
    assert customer.rows("account", "list") == [
        {"name": "acme", "customer": "acme", "subaccount": False, "caller_id": "5550001111", "enabled": True,
         "legacy_digest": False, "presence": True, "copies": False, "bulk": False,
         "shorteners": False, **api},
        {"name": "acme-1", "customer": "acme", "subaccount": True, "caller_id": "5550001111", "enabled": True,
         "legacy_digest": False, "presence": True, "copies": False, "bulk": False,
         "shorteners": False, **api},
    ]  # fmt: skip
    plain = {
        "mms": True, "dialing_mode": "", "group": "", "emails": [], "forward": "", "callback": "",
        "callback_retry": False, "webhook": "", "smpp": False, "smpp_username": "", "smpp_url": "",
    }  # fmt: skip
    assert customer.rows("did", "list") == [
        {"number": "5550001111", "account": "acme", "sip_account": "acme-1", "sms": True, **plain},
        {"number": "5550002222", "account": "acme", "sip_account": "acme", "sms": False, **plain},
    ]
    customer.run("did", "set", "5550002222", "--sms", "--sip-account", "")
    customer.run("account", "set", "acme-1", "--caller-id", "", "--disabled", "--legacy-digest")
    assert customer.rows("did", "list")[1] == {
        "number": "5550002222", "account": "acme", "sip_account": "", "sms": True, **plain,
    }  # fmt: skip
    changed = customer.rows("subaccount", "list")[1]
    assert (changed["caller_id"], changed["enabled"], changed["legacy_digest"]) == ("", False, True)
    customer.run("did", "remove", "5550001111")
    customer.run("did", "remove", "5550002222")
    customer.run("subaccount", "remove", "acme-1")
    customer.run("account", "remove", "acme")
    assert customer.rows("account", "list") == customer.rows("did", "list") == []


@pytest.mark.req("A-48")
def test_passwords_are_kept_as_hashes_for_the_realm(customer: Host) -> None:
    customer.run("account", "passwd", "acme", "--password", "secret-word")
    with sqlite3.connect(customer.folder / "sipsms.db") as db:
        row = db.execute("SELECT ha1_md5, ha1_sha256, realm FROM accounts WHERE name = 'acme'").fetchone()
    db.close()
    expected = [ha1("acme", "sip.example.net", "secret-word", name) for name in ("MD5", "SHA-256")]
    assert row == (*expected, "sip.example.net")
    for file in customer.folder.glob("sipsms.db*"):
        assert b"secret-word" not in file.read_bytes()


def test_messages_sent_without_a_server_wait_for_one(customer: Host) -> None:
    """They wait for one."""
    customer.run("receive", "--from", "72345", "--to", "+1 555 000 1111", "code 1234")
    customer.run("send", "--from", "5550001111", "--to", "4445556666", "bye")
    first, second = customer.rows("messages")
    assert (first["from"], first["to"], first["text"], first["state"]) == ("72345", "5550001111", "code 1234", "queued")
    assert (second["direction"], second["state"], second["carrier"]) == ("out", "queued", "sim")
    assert [row["courier"] for row in customer.rows("queue")] == ["sip", "carrier:sim"]
    (sim,) = customer.rows("carriers")
    assert (sim["name"], sim["type"], sim["state"], sim["waiting"]) == ("sim", "loopback", "not seen yet", 1)
    customer.run("carriers", "pause", "sim")
    assert customer.rows("carriers")[0]["paused"] is True
    customer.run("carriers", "resume", "sim")
    assert customer.rows("carriers")[0]["paused"] is False
    assert customer.rows("messages", "--limit", "1") == [second]
    assert customer.rows("messages", "--did", "5550002222") == []
    assert customer.rows("registrations") == customer.rows("devices") == []


def test_lists_are_tables_or_a_word(customer: Host) -> None:
    """Tables with what --json has; a word where there is nothing."""
    table = customer.run("account", "list").out
    assert "acme-1" in table
    assert "5550001111" in table
    for command, words in (("messages", "no messages"), ("queue", "empty"), ("registrations", "nobody")):
        assert words in customer.run(command).out
    assert "nothing to do" in customer.run("migrate").out
    assert "good" in customer.run("check-config").out


def test_help_and_version_are_printed(host: Host) -> None:
    assert __version__ in host.run("--version", config=False).out
    assert "registrar" in host.run("--help", config=False).out
    for name in cli.list_commands(Context(cli)):
        assert "Usage" in host.run(name, "--help", config=False).out
    assert "api-password" in host.run("account", "--help", config=False).out


def test_help_lists_each_command_in_one_group(host: Host) -> None:
    listed = [name for names in base._GROUPS.values() for name in names.split()]
    assert sorted(listed) == cli.list_commands(Context(cli))
    shown = host.run("--help", config=False).out
    assert [title for title in base._GROUPS if title in shown] == list(base._GROUPS)


def test_the_softphone_asks_for_its_password(host: Host) -> None:
    """An option would stand in the shell's history."""
    (option,) = [one for one in cli.get_command(Context(cli), "softphone").params if one.name == "password"]  # type: ignore[union-attr]
    assert (option.prompt, option.hide_input) == ("Password", True)  # type: ignore[attr-defined]


def test_a_missing_folder_of_the_store_is_said(tmp_path: Path) -> None:
    there = Host(tmp_path)
    there.path.write_text(there.path.read_text().replace("sqlite:///sipsms.db", "sqlite:///not/here/sipsms.db"))
    assert f"warning: store: the folder {tmp_path}/not/here does not exist" in there.run("check-config").err
    assert not (tmp_path / "not").exists()
    command = [sys.executable, "-m", "sipsms", "-c", str(there.path), "account", "list"]
    said = [subprocess.run(command, capture_output=True, text=True, check=True).stderr for _ in range(2)]
    assert "store_folder_made" in said[0]
    assert said[1] == ""


def test_the_names_of_commands_and_options_do_not_change() -> None:
    expected = {
        "serve", "check-config", "migrate", "demo", "account", "subaccount", "did", "registrations", "devices",
        "messages", "queue", "carriers", "import", "export", "receive", "send", "route", "softphone",
    }  # fmt: skip
    assert expected <= set(cli.list_commands(Context(cli)))
    groups: dict[str, set[str]] = {
        "account": {"add", "list", "passwd", "remove"}, "subaccount": {"add"}, "did": {"add", "set", "list", "remove"},
        "carriers": {"pause", "resume"},
    }  # fmt: skip
    for group, commands in groups.items():
        assert commands <= set(cli.get_command(Context(cli), group).commands)  # type: ignore[union-attr]


def test_a_command_is_found_in_the_module_that_defines_it() -> None:
    """Modules are imported on demand: a command that is missing from the table would not be found."""
    for module in base._MODULES:
        import_module(f"sipsms.cli.{module}")
    assert sorted(cli.commands) == cli.list_commands(Context(cli))
    for module, names in base._MODULES.items():
        for name in names.split():
            assert cli.commands[name].callback is not None
            assert module == "tokens" or cli.commands[name].callback.__module__ == f"sipsms.cli.{module}"


def test_the_version_needs_no_module_of_the_server() -> None:
    program = (
        "import sys; from sipsms.cli import cli; cli.main(['--version'], standalone_mode=False); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert not {"sqlalchemy", "pydantic", "asyncio", "aiohttp", "fastapi"} & set(done.stdout.split())


# --- what cannot be done: one line, exit 1 ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("account add acme --password x", "exists"),
        ("subaccount add x --account nobody --password x", "nobody"),
        ("subaccount add x --account acme-1 --password x", "subaccount"),
        ("subaccount add acme-1 --account acme --password x", "exists"),
        ("account passwd nobody --password x", "nobody"),
        ("account set nobody --disabled", "nobody"),
        ("account remove nobody", "nobody"),
        ("account remove acme", "subaccounts"),
        ("did add 5550001111 --account acme", "exists"),
        ("did add 5550003333 --account nobody", "nobody"),
        ("did add 5550003333 --account acme --sip-account nobody", "nobody"),
        ("did set 5550003333 --sms", "5550003333"),
        ("did set 5550001111 --sip-account nobody", "nobody"),
        ("did remove 5550003333", "5550003333"),
        ("carriers pause nobody", "nobody"),
        ("receive --from 4445556666 --to 4449998888 hi", "4449998888"),
        ("send --from 4449998888 --to 4445556666 hi", "4449998888"),
        ("send --from 5550002222 --to 4445556666 hi", "5550002222"),
        ("send --from 5550001111 --to 911 hi", ""),
        ("send --from 5550001111 --to 444555666 hi", "10 digits"),
    ],
)
def test_an_impossible_change_ends_with_one_line_and_code_1(customer: Host, arguments: str, words: str) -> None:
    before = customer.run("export").out
    assert words in customer.run(*arguments.split(), code=1).err
    assert customer.run("export").out == before
    assert customer.rows("messages") == []


def test_an_account_that_still_owns_dids_is_not_removed(customer: Host) -> None:
    customer.run("subaccount", "remove", "acme-1")
    assert "5550001111" in customer.run("account", "remove", "acme", code=1).err


def test_a_did_of_a_removed_subaccount_delivers_to_no_account(customer: Host) -> None:
    customer.run("subaccount", "remove", "acme-1")
    assert customer.rows("did", "list")[0]["sip_account"] == ""


@pytest.mark.req("F-39")
def test_a_missing_configuration_gives_one_line(host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    if not Path("/etc/sipsms/sipsms.yaml").exists():
        assert "-c FILE" in host.run("messages", code=1, config=False).err
    host.path.write_text("domain: x y\n")
    assert f"{host.path}:1: domain" in host.run("messages", code=1).err


# --- wrong usage: one line, exit 2 -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        "nonsense", "--nonsense", "account", "account nonsense", "account add", "account add x",
        "account add a/b --password x", "account add x --password x --caller-id 12", "did add 123 --account acme",
        "did add abc --account acme", "messages --limit 0", "messages --limit x", "messages --did x",
        "receive --from 1 x", "receive --to 5550001111 hi", "import no-such-file.yaml", "route --from 5550001111",
        "softphone x --password y", "softphone x --password y --server h --to 5551234567",
    ],
)  # fmt: skip
def test_wrong_usage_ends_with_code_2(host: Host, arguments: str) -> None:
    done = host.run(*arguments.split(), code=2) if arguments != "account" else None
    if done is not None:
        assert "--help" in done.err or "no-such-file" in done.err


# --- import and export -----------------------------------------------------------------------------------------------


def tree(customers: int, subs: int, dids: int) -> dict[str, Any]:
    return {
        "accounts": [
            {
                "name": f"c{n:05d}", "password": f"pw-{n}", "caller_id": f"{5550000000 + n * dids}",
                "dids": [
                    {"number": f"{5550000000 + n * dids + d}", "sip_account": f"c{n:05d}-{d % subs}", "sms": True}
                    for d in range(dids)
                ],
                "subaccounts": [
                    {"name": f"c{n:05d}-{s}", "password": f"pw-{n}-{s}", "caller_id": f"{5550000000 + n * dids}"}
                    for s in range(subs)
                ],
            }
            for n in range(customers)
        ]
    }  # fmt: skip


@pytest.fixture
def small(host: Host) -> Path:
    path = host.folder / "accounts.yaml"
    path.write_text(yaml.safe_dump(tree(3, 2, 4)))
    return path


def test_a_second_import_changes_nothing(host: Host, small: Path) -> None:
    assert host.run("import", str(small)).out == "21 added, 0 changed, 0 unchanged\n"
    before = host.run("export").out
    assert host.run("import", str(small)).out == "0 added, 0 changed, 21 unchanged\n"
    assert host.run("export").out == before
    changed = tree(3, 2, 4)
    changed["accounts"][0]["password"] = "new"
    changed["accounts"][1]["dids"][0]["sms"] = False
    small.write_text(yaml.safe_dump(changed))
    assert host.run("import", str(small)).out == "0 added, 2 changed, 19 unchanged\n"


def test_a_dry_run_counts_and_changes_nothing(host: Host, small: Path) -> None:
    assert (
        host.run("import", str(small), "--dry-run").out
        == "dry run, nothing is changed: 21 added, 0 changed, 0 unchanged\n"
    )
    assert host.rows("account", "list") == []
    host.run("account", "add", "first", "--password", "x")
    host.run("did", "add", "5550000001", "--account", "first")
    assert "5550000001" in host.run("import", str(small), "--dry-run", code=1).err
    assert len(host.rows("account", "list")) == 1


def test_an_import_counts_as_json(host: Host, small: Path, tmp_path: Path) -> None:
    counts = {"added": 21, "changed": 0, "unchanged": 0}
    assert host.rows("import", str(small), "--dry-run") == [{**counts, "dry_run": True}]
    assert host.rows("import", str(small)) == [{**counts, "dry_run": False}]


def test_a_csv_file_is_imported(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "accounts.CSV"
    file.write_text("name;customer;password;dids\nacme;;one;\ndesk;acme;two;5550001111\n")
    assert host.run("import", str(file)).out == "3 added, 0 changed, 0 unchanged\n"
    (number,) = host.rows("did", "list")
    assert (number["number"], number["account"], number["sip_account"]) == ("5550001111", "acme", "desk")


def test_an_export_imports_again_without_a_change(host: Host, small: Path, tmp_path: Path) -> None:
    """Passwords are not exported; imported over the same store all stays as it is, they too."""
    host.run("import", str(small))
    exported = host.run("export").out
    assert "password" not in exported
    expected = tree(3, 2, 4)
    for account in expected["accounts"]:
        for one in (account, *account["subaccounts"]):
            del one["password"]
    assert yaml.safe_load(exported) == expected
    again = tmp_path / "exported.yaml"
    again.write_text(exported)
    assert host.run("import", str(again)).out == "0 added, 0 changed, 21 unchanged\n"
    other = Host(tmp_path / "other") if (tmp_path / "other").mkdir() is None else host
    assert "password" in other.run("import", str(again), code=1).err
    with_passwords = yaml.safe_load(exported)
    for account in with_passwords["accounts"]:
        for one in (account, *account["subaccounts"]):
            one["password"] = "given anew"
    again.write_text(yaml.safe_dump(with_passwords))
    other.run("import", str(again))
    assert other.run("export").out == exported


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda t: t["accounts"][1].update(name="a/b"), "accounts[1].name"),
        (lambda t: t["accounts"][1].update(colour="red"), "accounts[1].colour"),
        (lambda t: t["accounts"][2]["dids"][3].update(number="12"), "accounts[2].dids[3].number"),
        (lambda t: t["accounts"][2]["dids"][0].update(sip_account="c00000"), "accounts[2].dids[0].sip_account"),
        (lambda t: t["accounts"][0]["subaccounts"][1].update(name="c00001"), "c00001"),
        (lambda t: t["accounts"][0]["subaccounts"][1].pop("name"), "accounts[0].subaccounts[1].name"),
        (lambda t: t["accounts"][0].update(caller_id="rubbish"), "accounts[0].caller_id"),
        (lambda t: t["accounts"][2]["dids"][0].update(number="5550000000"), "5550000000"),
    ],
)
def test_a_bad_file_is_named_by_line_and_changes_nothing(host: Host, small: Path, change: Any, where: str) -> None:
    bad = tree(3, 2, 4)
    change(bad)
    small.write_text(yaml.safe_dump(bad))
    error = host.run("import", str(small), code=1, one_line=False).err
    assert all(line.startswith(f"sipsms: {small}:") for line in error.splitlines())
    assert where in error
    assert host.rows("account", "list") == []


def test_an_import_cannot_take_the_did_of_another_customer(host: Host, small: Path) -> None:
    host.run("account", "add", "first", "--password", "x")
    host.run("did", "add", "5550000001", "--account", "first")
    assert "5550000001" in host.run("import", str(small), code=1).err
    assert len(host.rows("account", "list")) == 1


def test_ten_thousand_accounts_are_imported(host: Host) -> None:
    """2,000 customers with 4 subaccounts and 5 DIDs each; a program of its own, as an operator would run it."""
    path = host.folder / "many.yaml"
    path.write_text(yaml.dump(tree(2000, 4, 5), Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper)))
    command = [sys.executable, "-m", "sipsms", "-c", str(host.path), "import", str(path)]
    seconds = []
    for expected in ("20000 added, 0 changed, 0 unchanged", "0 added, 0 changed, 20000 unchanged"):
        started = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        seconds.append(time.monotonic() - started)
        assert expected in done.stdout
    print(f"10,000 accounts and 10,000 DIDs: {seconds[0]:.1f} s, again {seconds[1]:.1f} s")


def test_the_program_ends_with_exit_codes_as_documented(customer: Host) -> None:
    """Exit codes and streams as the shell sees them; output into a closed pipe is no error."""

    def shell(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sipsms", "-c", str(customer.path), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert shell("account", "list", "--json").returncode == 0
    done = shell("account", "remove", "nobody")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "sipsms: no account nobody\n")
    assert shell("did", "add").returncode == 2


FULL = """\
accounts:
- name: beta
  password: pw
  groups:
  - {name: desk, members: [beta, beta-1]}
  dids:
  - number: "5550007777"
    sip_account: ""
    sms: true
    mms: false
    dialing_mode: e164
    emails: [a@example.net, b@example.net]
    forward: "4165550100"
    group: desk
    callback: "https://example.net/?m={MESSAGE}"
    callback_retry: false
    webhook: https://example.net/hook
    bearer: tok
    webhook_secret: s3cret
  subaccounts:
  - {name: beta-1, password: pw1}
"""


@pytest.mark.req("S-027", "S-028", "S-030", "S-047")
def test_destinations_survive_import_and_export(host: Host) -> None:
    """Twice the same changes nothing; nor does an export read again: it has no secrets and keeps those there are."""
    file = host.path.parent / "all.yaml"
    file.write_text(FULL)
    assert host.run("import", str(file)).out == "3 added, 0 changed, 0 unchanged\n"
    assert host.run("import", str(file)).out.startswith("0 added, 0 changed")
    before = host.rows("did", "list")
    (did,) = before
    assert (did["emails"], did["group"], did["forward"]) == (["a@example.net", "b@example.net"], "desk", "4165550100")
    exported = host.run("export").out
    assert "tok" not in exported
    assert "s3cret" not in exported
    file.write_text(exported)
    assert host.run("import", str(file)).out.startswith("0 added, 0 changed")
    assert host.rows("did", "list") == before
    targets = sqlite3.connect(host.path.parent / "sipsms.db").execute(
        "SELECT options FROM did_targets WHERE kind = 'webhook'"
    )
    assert json.loads(targets.fetchone()[0]) == {"bearer": "tok", "secret": "s3cret"}
    file.write_text(exported.replace("https://example.net/hook", "https://example.net/other"))
    assert "1 changed" in host.run("import", str(file)).out


def test_invalid_destinations_are_named_with_their_line(host: Host) -> None:
    file = host.path.parent / "all.yaml"
    file.write_text(FULL.replace('"4165550100"', "nobody").replace("https://example.net/hook", "http://127.0.0.1/"))
    done = host.run("import", str(file), code=1, one_line=False)
    assert "all.yaml:13: accounts[0].dids[0].forward: not a telephone number: 'nobody'" in done.err
    assert "all.yaml:17: accounts[0].dids[0].webhook: " in done.err
    assert host.rows("account", "list") == []


@pytest.mark.req("S-030", "S-035", "S-040", "S-044", "S-045", "S-046", "S-128")
def test_did_set_changes_each_destination_and_back(customer: Host) -> None:
    def did() -> dict[str, Any]:
        return customer.rows("did", "list")[0]

    number = "5550001111"
    customer.run("group", "add", "team", "--member", "acme", "--member", "acme-1")
    customer.run(
        "did", "set", number, "--email", "a@example.net", "--forward", "(416) 555-0100", "--callback", "https://a.example/",
        "--webhook", "https://b.example/", "--bearer", "t", "--dialing-mode", "e164", "--group", "team", "--no-mms",
    )  # fmt: skip
    now = did()
    assert {name: now[name] for name in ("emails", "forward", "dialing_mode", "group", "mms")} == {
        "emails": ["a@example.net"], "forward": "4165550100", "dialing_mode": "e164", "group": "team", "mms": False,
    }  # fmt: skip
    assert (now["callback"], now["webhook"]) == ("https://a.example/", "https://b.example/")
    assert now["callback_retry"] is True
    customer.run("did", "set", number, "--no-callback-retry")
    assert (did()["callback"], did()["callback_retry"]) == ("https://a.example/", False)
    assert "used by DID" in customer.run("group", "remove", "team", code=1).err
    off = [
        word
        for name in ("email", "forward", "callback", "webhook", "dialing-mode", "group")
        for word in (f"--{name}", "")
    ]
    customer.run("did", "set", number, *off, "--mms")
    now = did()
    assert not any(now[name] for name in ("emails", "forward", "callback", "webhook", "dialing_mode", "group"))
    assert now["mms"]
    customer.run("group", "remove", "team")
    assert "has no webhook" in customer.run("did", "set", number, "--bearer", "x", code=1).err
    for wrong in (
        ("--email", "nobody"), ("--forward", number), ("--forward", "12"), ("--callback", "http://10.0.0.1/"),
        ("--webhook", "https://a b/"), ("--group", "none"), ("--bearer", "zwei worte\x01"),
    ):  # fmt: skip
        customer.run("did", "set", number, *wrong, code=1 if wrong[0] == "--group" else 2)
    assert not any(did()[name] for name in ("emails", "forward", "callback", "webhook", "group"))


@pytest.mark.req("S-066", "S-071", "S-072", "S-074", "S-076")
def test_did_set_changes_smpp_settings(customer: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def shown() -> tuple[Any, ...]:
        row = customer.rows("did", "list")[0]
        return row["smpp"], row["smpp_username"], row["smpp_url"]

    def options() -> Any:
        store = sqlite3.connect(customer.path.parent / "sipsms.db")
        return json.loads(store.execute("SELECT options FROM did_targets WHERE kind = 'smpp'").fetchone()[0])

    number = "5550001111"
    assert "--smpp-password: SMPP needs one" in customer.run("did", "set", number, "--smpp", code=2).err
    customer.run("did", "set", number, "--smpp", "--smpp-password", "hunter2")
    assert shown() == (True, "acme", "")
    (tmp_path / "key").write_text("from-file\n")
    customer.run("did", "set", number, "--smpp-password", f"file:{tmp_path / 'key'}", "--smpp-username", "u")
    assert options() == {"username": "u", "password": "from-file", "enabled": True}
    monkeypatch.setenv("ESME_KEY", "from-environment")
    customer.run("did", "set", number, "--smpp-password", "env:ESME_KEY")
    assert options()["password"] == "from-environment"
    customer.run("did", "set", number, "--smpp-url", "ssmpp://me:hunter2@smsc.example.com", "--no-smpp")
    assert shown() == (False, "u", "ssmpp://me:***@smsc.example.com")
    listed = customer.run("did", "list").out + customer.run("did", "list", "--json").out
    assert "hunter2" not in listed
    assert "from-environment" not in listed
    customer.run("account", "add", "other", "--password", "pw")
    for wrong in (("--smpp-url", "http://x.example"), ("--smpp-url", "smpp://10.0.0.1"), ("--smpp-username", "a b"),
                  ("--smpp-username", "other"), ("--smpp-password", "x" * 65)):  # fmt: skip
        assert wrong[0] in customer.run("did", "set", number, *wrong, code=2).err
    assert customer.run("account", "set", "acme", "--smpp-rate", "50").out
    assert customer.rows("account", "list")[0]["smpp_rate"] == 50
    customer.run("account", "set", "acme", "--smpp-rate", "default")
    assert customer.rows("account", "list")[0]["smpp_rate"] is None
    customer.run("account", "set", "acme", "--smpp-rate", "fast", code=2)
    assert customer.rows("binds") == []


def test_sessions_of_a_killed_server_are_not_listed(customer: Host) -> None:
    store = customer.folder / "sipsms.db"
    with contextlib.closing(sqlite3.connect(store)) as db, db:
        db.execute("INSERT INTO smpp_binds (node, number, direction, name, since) VALUES ('here', 0, 'in', 'acme', 1)")
    assert customer.rows("binds") == []


def test_a_group_contains_only_accounts_of_one_customer(customer: Host) -> None:
    customer.run("account", "add", "other", "--password", "pw")
    assert "several customers" in customer.run("group", "add", "g", "--member", "acme", "--member", "other", code=1).err
    assert "no account" in customer.run("group", "add", "g", "--member", "nobody", code=1).err
    customer.run("group", "add", "g", "--member", "other")
    assert "no group g of acme" in customer.run("did", "set", "5550001111", "--group", "g", code=1).err
    assert customer.rows("group", "list") == [{"name": "g", "account": "other", "members": ["other"]}]
    customer.run("account", "remove", "other")
    assert customer.rows("group", "list")[0]["members"] == []


@pytest.mark.req("S-131")
def test_blocks_are_added_and_removed(customer: Host) -> None:
    customer.run("block", "add", "2125550123", "--did", "5550001111", "--direction", "in")
    customer.run("block", "add", "SPAMMER", "--account", "acme")
    customer.run("block", "add", "2125550199")
    assert [(row["owner"], row["number"], row["direction"]) for row in customer.rows("block", "list")] == [
        ("*", "2125550199", "in"), ("*", "2125550199", "out"), ("5550001111", "2125550123", "in"),
        ("acme", "SPAMMER", "in"), ("acme", "SPAMMER", "out"),
    ]  # fmt: skip
    refused = customer.run("send", "--from", "5550001111", "--to", "2125550199", "hi", code=1).err
    assert "wants no messages" in refused
    customer.run("block", "remove", "2125550199")
    customer.run("send", "--from", "5550001111", "--to", "2125550199", "hi")
    assert "not blocked" in customer.run("block", "remove", "2125550199", code=1).err
    assert customer.run("block", "add", "1", "--did", "5550001111", "--account", "acme", code=2).err


@pytest.mark.req("S-021", "S-022", "S-023")
def test_an_mms_is_sent_by_the_command(customer: Host) -> None:
    picture = customer.path.parent / "a.gif"
    picture.write_bytes(b"GIF89a\x01\x00\x01\x00\x00\x00\x00;" + bytes(40))
    send = ("send", "--from", "5550001111", "--to", "2125550123")
    customer.run(*send, "--media", str(picture), "look")
    (message,) = [row for row in customer.rows("messages") if row["text"] == "look"]
    assert [one["content_type"] for one in message["media"]] == ["image/gif"]
    text = customer.path.parent / "a.txt"
    text.write_text("no picture")
    assert "a.txt" in customer.run(*send, "--media", str(text), "look", code=1).err
    assert "none.gif" in customer.run(*send, "--media", "none.gif", "look", code=1).err
    many = [word for _ in range(4) for word in ("--media", str(picture))]
    assert "at most 3" in customer.run(*send, *many, "look", code=1).err
    customer.run("did", "set", "5550001111", "--no-mms")
    assert "not enabled for MMS" in customer.run(*send, "--media", str(picture), "look", code=1).err


@pytest.mark.req("S-112", "S-135", "G11")
def test_route_explains_how_a_text_is_sent(customer: Host) -> None:
    out = customer.run("route", "--from", "5550001111", "--to", "2125550123", "--text", "é" * 80 + "ж" * 20).out
    assert "text: 100 characters, ucs2, 2 segments" in out
    assert "consent and policy: ok" in out
    out = customer.run("route", "--from", "5550001111", "--to", "2125550123", "--text", "see bit.ly/x").out
    assert "refused: links of bit.ly are not sent" in out
    customer.run("did", "set", "5550001111", "--email", "a@example.net", "--forward", "4165550100")
    out = customer.run("route", "--from", "2125550123", "--to", "5550001111").out
    assert "e-mail to a@example.net" in out
    assert "forward to 4165550100" in out
    out = customer.run("route", "--from", "4165550100", "--to", "5550001111").out
    assert "not forwarded: it comes from the number it would go to" in out


def test_a_did_that_moves_delivers_to_no_account_of_the_old_customer(customer: Host) -> None:
    customer.run("account", "add", "other", "--password", "pw")
    number = "5550001111"
    customer.run(
        "did", "set", number, "--email", "old@example.net", "--webhook", "https://old.example/", "--bearer", "t"
    )
    customer.run("did", "set", number, "--account", "other")
    did = next(row for row in customer.rows("did", "list") if row["number"] == number)
    assert (did["account"], did["sip_account"], did["emails"], did["webhook"]) == ("other", "", [], "")


@pytest.mark.req("G16", "A-48")
def test_check_config_warns_of_secrets_in_the_file(host: Host) -> None:
    """In the file itself, or short enough to be guessed where nothing else shows who calls. It is good all the same."""
    settings = yaml.safe_load(host.path.read_text())
    acme = {"type": "http", "url": "https://a.example/", "auth": {"bearer": "tok"}, "inbound": {"secret": "short"}}
    host.path.write_text(yaml.safe_dump({**settings, "carriers": {"acme": acme}}))
    done = host.run("check-config")
    assert done.out.endswith(": good\n")
    assert "carriers.acme.auth.bearer: the secret stands in the file" in done.err
    assert "carriers.acme.inbound.secret: shorter than 16 characters" in done.err


def test_json_lines_have_no_character_that_ends_a_line() -> None:
    value = {"text": "a\u2028b\u2029c\x85d\x9b\x7f\ud83d é\n"}
    line = json_line(value)
    assert len((line + "\n").splitlines()) == 1
    assert "é" in line
    assert json.loads(line) == value
