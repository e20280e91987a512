"""Kamailio as the peer: its database, its config (kamailio/kamailio.cfg), start and stop.

Two variants. `durable` writes one SQLite row before each 202 and each binding before its 200, as sipsms does (WAL,
and synchronous FULL, SQLite's default, which db_sqlite leaves alone; WAL is set on the file beforehand and stays.
strace confirms: 500 messages, 502 fdatasync; 500 registrations, 506).
`nostore` keeps nothing: what the SIP work alone costs. Both run one worker: with several, SQLite's lock makes
Kamailio refuse or lose inserts, so rows are counted.
"""

from __future__ import annotations

import shutil
import socket
import sqlite3
import time
from pathlib import Path

from tools.bench import scenarios, wire
from tools.bench.process import Process, ServerFailed, free_port

TEMPLATE = Path(__file__).parent / "kamailio" / "kamailio.cfg"
MODULES = ("/usr/lib/x86_64-linux-gnu/kamailio/modules", "/usr/lib/kamailio/modules", "/usr/lib64/kamailio/modules")
TABLES = """
pragma journal_mode = wal;
create table version (table_name varchar(32) not null, table_version integer not null default 0);
insert into version values ('location', 9), ('ha1', 2), ('cid', 2), ('did', 2);
create table sms (id integer primary key, at integer default (unixepoch()), src text, dst text, account text,
  call_id text, body text);
create table location (id integer primary key not null, ruid varchar(64) not null default '' unique,
  username varchar(64) not null default '', domain varchar(64), contact varchar(512) not null default '',
  received varchar(128), path varchar(512), expires timestamp not null, q real not null default 1.0,
  callid varchar(255) not null, cseq integer not null default 1, last_modified timestamp not null,
  flags integer not null default 0, cflags integer not null default 0, user_agent varchar(255) not null default '',
  socket varchar(64), methods integer, instance varchar(255), reg_id integer not null default 0,
  server_id integer not null default 0, connection_id integer not null default 0, keepalive integer not null default 0,
  partition integer not null default 0);
create index location_contact on location (username, domain, contact);
create index location_expires on location (expires);
"""
HTABLE = """
create table {0} (id integer primary key not null, key_name varchar(64) not null, key_type integer not null default 0,
  value_type integer not null default 0, key_value varchar(128) not null, expires integer not null default 0);
"""


def find() -> str | None:
    """The program, if it is installed with all that is needed."""
    program = shutil.which("kamailio") or shutil.which("kamailio", path="/usr/sbin:/usr/local/sbin")
    modules = _modules()
    return program if modules and (modules / "db_sqlite.so").exists() else None


def _modules() -> Path | None:
    return next((Path(m) for m in MODULES if Path(m).is_dir()), None)


class Kamailio:
    can_pause = False

    def __init__(self, program: str, directory: Path, cores: set[int], *, durable: bool) -> None:
        self.name = "kamailio " + ("durable" if durable else "nostore") + ", 1 worker"
        self.durable = durable
        self.program, self.directory, self.cores = program, directory, cores
        self.address = ("127.0.0.1", free_port())
        self.database = directory / "kamailio.sqlite"

    def start(self, accounts: int) -> None:
        self._fill(accounts)
        config = self.directory / "kamailio.cfg"
        config.write_text(self._config())
        command = [self.program, "-DD", "-E", "-m", "512", "-M", "256", "-f", str(config), "-Y", str(self.directory)]
        command += ["-A", "WITH_STORE"] if self.durable else []
        self.process = Process(command, self.directory / "kamailio.log", self.cores)
        self._await()

    def stop(self) -> None:
        self.process.stop()

    def rows(self) -> int | None:
        if not self.durable:
            return None
        return self._count("sms")

    def bindings(self) -> int | None:
        return self._count("location") if self.durable else None

    def settle(self, timeout: float) -> float:
        return 0.0

    def _config(self) -> str:
        text = TEMPLATE.read_text()
        values = {
            "PORT": self.address[1],
            "DB": self.database,
            "DOMAIN": scenarios.DOMAIN.decode(),
            "MODULES": _modules(),
        }
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        return text

    def _count(self, table: str) -> int:
        db = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10)
        try:
            return int(db.execute(f"select count(*) from {table}").fetchone()[0])
        finally:
            db.close()

    def _fill(self, accounts: int) -> None:
        with sqlite3.connect(self.database) as db:
            db.executescript(TABLES + "".join(HTABLE.format(name) for name in ("ha1", "cid", "did")))
            for name, password, did in scenarios.accounts(accounts):
                key = wire.ha1(name.encode(), scenarios.DOMAIN, password.encode()).decode()
                for table, pair in (("ha1", (name, key)), ("cid", (name, did)), ("did", (did, name))):
                    db.execute(f"insert into {table} (key_name, key_value) values (?, ?)", pair)
        db.close()

    def _await(self) -> None:
        """Up when it answers an OPTIONS."""
        ping = b"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;rport;branch=z9hG4bKup\r\nFrom: <sip:x>;tag=1\r\n"
        ping += b"To: <sip:x>\r\nCall-ID: up\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 9\r\nContent-Length: 0\r\n\r\n"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0.2)
            for _ in range(100):
                self.process.check()
                probe.sendto(ping, self.address)
                try:
                    probe.recv(4096)
                    return
                except (TimeoutError, ConnectionRefusedError):
                    time.sleep(0.1)
        raise ServerFailed(f"no answer from Kamailio: {self.process.tail()}")
