"""Where the control socket is, who replaces which file, and the lines of a request."""

from __future__ import annotations

import json
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from sipsms.core.control_socket import AT_ONCE, address_of, bind, path_for, request


def test_the_socket_is_beside_the_store(tmp_path: Path) -> None:
    assert path_for("sqlite:////srv/s.db") == Path("/srv/s.db.control")
    one, two = (path_for("postgresql://u@h/d", key) for key in ("a", "b"))
    assert one != two
    assert one.parent in (Path("/run/sipsms"), Path(tempfile.gettempdir()) / one.parent.name)
    assert path_for("sqlite:///:memory:").suffix == ".control"


def test_a_long_path_has_a_short_address(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    with address_of(deep / "s.control") as address:
        assert len(address) < 100
        Path(address).write_text("here")
    assert (deep / "s.control").read_text() == "here"


def test_a_dead_socket_is_replaced_and_other_files_are_kept(tmp_path: Path) -> None:
    dead, alive, file = tmp_path / "dead", tmp_path / "alive", tmp_path / "file"
    with socket.socket(socket.AF_UNIX) as left, socket.socket(socket.AF_UNIX) as other:
        left.bind(str(dead))
        other.bind(str(alive))
        other.listen()
        file.write_text("keep")
        for taken in (alive, file):
            with pytest.raises(FileExistsError):
                bind(taken)
        assert file.read_text() == "keep"
        left.close()
        bind(dead).close()
    assert stat.S_IMODE(dead.stat().st_mode) == 0o600


def test_a_long_list_is_sent_in_pieces() -> None:
    lines = list(request("import_all", {"people": list(range(AT_ONCE + 1)), "groups": [7]}))
    head, *more = (json.loads(line) for line in lines[:-1])
    assert head == {"do": "import_all", "with": {"people": [], "groups": [7]}}
    assert [piece["items"] for piece in more] == [list(range(AT_ONCE)), [AT_ONCE]]
    assert lines[-1] == b"\n"
