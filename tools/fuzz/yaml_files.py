"""Files that an operator writes: the configuration, the dialplan, and a file to import. The first octet chooses."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from sipsms.accounts import import_file
from sipsms.app import settings
from sipsms.core.yaml_file import ConfigError
from sipsms.routing import rules_file

_ROOT: Final = Path(__file__).resolve().parents[2]
_FOLDER: Final = Path(tempfile.mkdtemp(prefix="sipsms-fuzz-"))
_IMPORT: Final = b"""accounts:
  - name: acme
    password: pw
    caller_id: "5550001111"
    dids: [{number: "5550001111", emails: [a@example.net], webhook: {url: "https://example.net/h"}}]
    subaccounts: [{name: desk, password: pw}]
    groups: [{name: all, members: [desk]}]
"""


def seeds() -> list[bytes]:
    config = b'domain: sip.example.net\nlisten: {sip: ["udp:127.0.0.1:5060"]}\ncarriers: {sim: {type: loopback}}\n'
    files = {0: [_ROOT / "etc/demo.yaml"], 1: [_ROOT / "dialplan/numbering.yaml"], 2: [_ROOT / "dialplan/routing.yaml"]}
    found = [bytes([kind]) + path.read_bytes() for kind, paths in files.items() for path in paths]
    return [*found, b"\x00" + config, b"\x03" + _IMPORT, b"\x03a: &a [*a]", b"\x00a: 2026-99-99"]


def check(data: bytes) -> None:
    kind, text = (data[0] % 4, data[1:]) if data else (0, b"")
    name = ("sipsms.yaml", "numbering.yaml", "routing.yaml", "import.yaml")[kind]
    for old in _FOLDER.iterdir():
        old.unlink()
    path = _FOLDER / name
    path.write_bytes(text)
    try:
        if kind == 0:
            settings.load(path)
        elif kind == 3:
            import_file.read(path, "sip.example.net")
        else:
            rules_file.load(_FOLDER, ["sim"])
    except ConfigError as error:
        assert error.errors
        assert all(one.isprintable() for one in error.errors), error.errors
