"""What cannot start says why in one line, exits with 1, and touches nothing."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from alembic import command
from alembic.config import Config
from smpp.kit import SmppSite

from sipsms.store import engine
from sipsms.store.sqlite import sqlite3
from tests.support.sip.wire import Phone

from .conftest import MakeSite

pytestmark = pytest.mark.e2e


@pytest.mark.req("F-39")
@pytest.mark.parametrize("which", ["udp", "tcp", "http"])
def test_a_port_in_use_is_named(make_site: MakeSite, which: str) -> None:
    site = make_site()
    port = site.http_port if which == "http" else site.sip_port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if which == "udp" else socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", port))
        if which != "udp":
            taken.listen()
        done = site.cli("serve", check=False)
    assert done.returncode == 1
    lines = [line for line in done.stderr.strip().splitlines() if not line.startswith("{")]
    assert len(lines) == 1, done.stderr
    assert str(port) in lines[0]
    assert "in use" in lines[0]
    site.start()  # and with the port free it starts


@pytest.mark.req("F-39")
def test_a_second_server_on_one_store_does_not_start(make_site: MakeSite) -> None:
    """The second finds the ports taken, and leaves the first alone."""
    site = make_site()
    site.start()
    done = site.cli("serve", check=False)
    assert done.returncode == 1
    assert site.ready()
    account = site.account()
    site.sms(account.did, "still served")
    assert [row["text"] for row in site.rows(account.did)] == ["still served"]


def _downgrade(store: Path, version: str) -> None:
    """Make a store what an older sipsms wrote."""
    config = Config()
    config.set_main_option("script_location", str(Path(engine.__file__).parent / "migrations"))
    with engine.open_engine(f"sqlite:///{store}").begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, version)


BAD = {
    "no YAML": ("domain: [sip.example.net\n", ":1"),
    "a tab": ("domain: sip.example.net\n\tstore: x\n", ":2"),
    "unknown key": ("domain: sip.example.net\nlisten:\n  sips: []\n", ":3: listen.sips"),
    "no domain": ("store: sqlite:///x.db\n", ":1"),
    "a key twice": ("domain: a.example\nlog: {}\ndomain: b.example\n", ":3: domain"),
    "a bad port": ("domain: a.example\nlisten:\n  sip:\n  - udp://0.0.0.0:99999\n", ":4: listen.sip[0]"),
    "a bad duration": ("domain: a.example\nqueue:\n  keep: two weeks\n", ":3: queue.keep"),
    "no such carrier type": ("domain: a.example\ncarriers:\n  x: {type: pigeon}\n", ":3: carriers.x"),
    "a secret that is not there": (
        "domain: a.example\ncarriers:\n  x:\n    type: http\n    url: http://h/\n    auth: {bearer: 'env:NOT_SET'}\n",
        ":6: carriers.x.auth.bearer",
    ),
    "not text": (b"\xff\xfe\x00domain", ""),
    "a list": ("- domain\n", ":1"),
}


@pytest.mark.req("F-39")
@pytest.mark.parametrize("name", BAD)
def test_a_bad_configuration_is_named_with_file_and_line(tmp_path: Path, make_site: MakeSite, name: str) -> None:
    text, where = BAD[name]
    site = make_site(accounts=0)
    site.path.write_bytes(text if isinstance(text, bytes) else text.encode())
    for word in ("serve", "check-config") if name == "unknown key" else ("check-config",):
        done = site.cli(word, check=False)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        lines = done.stderr.strip().splitlines()
        assert all(line.startswith(f"sipsms: {site.path}") for line in lines)
        assert f"{site.path}{where}" in done.stderr


@pytest.mark.req("F-39")
def test_all_errors_of_the_configuration_are_named_at_once(make_site: MakeSite) -> None:
    site = make_site(accounts=0)
    tree = {"domain": "not a domain", "queue": {"keep": "x"}, "colour": "red"}
    site.path.write_text(yaml.safe_dump(tree))
    done = site.cli("check-config", check=False)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 3


@pytest.mark.req("F-39")
def test_a_bad_dialplan_is_named_with_file_and_line(make_site: MakeSite) -> None:
    site = make_site(accounts=0)
    folder = site.folder / "dialplan"
    folder.mkdir()
    (folder / "routing.yaml").write_text("rules:\n- name: one\n  carriers: [sim]\n- name: two\n  carriers: [nobody]\n")
    done = site.cli("serve", check=False)
    assert done.returncode == 1
    assert "routing.yaml:5" in done.stderr
    assert "nobody" in done.stderr


@pytest.mark.req("F-39")
def test_a_missing_configuration_is_named(tmp_path: Path, make_site: MakeSite) -> None:
    site = make_site(accounts=0)
    site.path.unlink()
    done = site.cli("serve", check=False)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert str(site.path) in done.stderr


@pytest.mark.req("F-39")
@pytest.mark.parametrize("which", ["tls", "wss", "http", "smpp"])
def test_a_port_in_use_is_found_before_the_store_is_touched(tmp_path: Path, which: str) -> None:
    """An attempt that was cut off is still `sending` afterwards: recovery has not begun, nothing was migrated."""
    site = SmppSite(tmp_path / "node", 3)
    port = {"http": site.http_port, "smpp": site.smpp_port}.get(which) or site.ports[which]
    site.start()
    site.stop()
    _downgrade(site.store, "0005")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        done = site.cli("serve", check=False)
    assert done.returncode == 1
    assert f"127.0.0.1:{port}: the port is in use" in done.stderr
    with sqlite3.connect(site.store) as db:
        assert db.execute("SELECT version_num FROM alembic_version").fetchone() == ("0005",)
    db.close()
    site.start()
    site.stop()


@pytest.mark.req("I1", "F-01")
def test_no_request_is_answered_before_everything_is_loaded(make_site: MakeSite) -> None:
    """While the store is locked the start cannot end: datagrams wait, connections are refused, on every port."""
    site = make_site()
    account = site.account()
    site.start()
    site.kill()
    with sqlite3.connect(site.store, isolation_level=None) as db, ThreadPoolExecutor() as pool:
        db.execute("BEGIN IMMEDIATE")
        started = pool.submit(site.start)
        with Phone(site.address, account.name, account.password) as phone:
            site.wait(lambda: _is_bound(site.sip_port))
            draft = phone.register_draft()
            phone.send(draft)
            for port in (site.sip_port, site.http_port, site.ports["tls"], site.ports["ws"]):
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", port))
            with socket.socket(socket.AF_UNIX) as control, pytest.raises(OSError):
                control.connect(f"{site.store}.control")
            db.execute("ROLLBACK")
            assert phone.response_to(draft, 20).status == 401  # it waited in the socket, and is answered now
            started.result()
    db.close()


def _is_bound(port: int) -> bool:
    """Is there a UDP socket with this port? A look, since trying to bind would take it from the server."""
    return any(f":{port:04X} " in line.split("rem")[0] for line in Path("/proc/net/udp").read_text().splitlines())


@pytest.mark.req("F-39")
def test_passwords_of_another_realm_are_named_at_the_start(make_site: MakeSite) -> None:
    site = make_site(accounts=3)
    site.write_config(**{**site.settings, "realm": "another.example.net"})
    site.start()
    (event,) = site.events("other_realm")
    assert event["accounts"] == 3
    assert "set their passwords again" in event["why"]
