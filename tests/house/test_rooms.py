"""Imports keep to the order of the rooms (`rules`). A failure names the file and the line of the first offence."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from .rules import BLOCK, HOMES, NOT_PURE, PAGE, PURE, PURPOSE, ROOMS, block, in_one_line, left_of

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "sipsms"
TOP = {"__init__.py", "__main__.py", "py.typed"}


class Import(NamedTuple):
    module: str  # that imports, without `sipsms.`
    line: int
    target: str  # with `sipsms.`; `from os import urandom` is `os.urandom`

    def __str__(self) -> str:
        path = PACKAGE / (self.module.replace(".", "/") + ".py")
        path = path if path.exists() else PACKAGE / self.module.replace(".", "/") / "__init__.py"
        return f"{path.relative_to(ROOT)}:{self.line}: imports {self.target}"

    @property
    def room(self) -> str:
        return self.module.partition(".")[0]

    @property
    def library(self) -> str:
        return self.target.partition(".")[0]


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if "migrations" not in parts:
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), ast.parse(path.read_text(), str(path))


def imports() -> Iterator[Import]:
    for name, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (Import(name, node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}:{node.lineno}: imports in this project are absolute"
                yield from (Import(name, node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
            elif isinstance(node, ast.Attribute) and node.attr == "urandom":
                yield Import(name, node.lineno, "os.urandom")


ALL = list(imports())
NAMES = {name for name, _ in modules()}


def own(target: str) -> str:
    """`sipsms.sip.uri.Uri` -> `sip.uri`; empty for what is not ours."""
    inner = target.removeprefix("sipsms.") if target.startswith("sipsms.") else ""
    while inner and inner not in NAMES:
        inner = inner.rpartition(".")[0]
    return inner


def refuse(offences: list[Import], rule: str) -> None:
    if offences:
        pytest.fail(f"{offences[0]}: {rule} ({len(offences)} in all)", pytrace=False)


def test_every_module_has_a_room() -> None:
    rooms = {room for row in ROOMS for room in row}
    entries = {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert entries == rooms | TOP
    assert rooms == PURPOSE.keys()


def test_rooms_import_only_rooms_to_their_left() -> None:
    """The five adapters never import each other."""
    offences = []
    for one in ALL:
        room = own(one.target).partition(".")[0]
        if one.room and one.room != "__main__" and room and room != one.room and room not in left_of(one.room):
            offences.append(one)
    refuse(offences, f"imports point left only: {in_one_line()}")


def test_pure_modules_have_no_clock_no_chance_and_no_sockets() -> None:
    assert PURE <= NAMES, f"named in rules.PURE and gone: {sorted(PURE - NAMES)}"
    offences = [one for one in ALL if one.module in PURE and one.library in NOT_PURE]
    offences += [one for one in ALL if one.module in PURE and one.target == "os.urandom"]
    refuse(offences, "a pure module is given bytes and `now`")


def test_pure_modules_import_pure_modules_only() -> None:
    offences = [one for one in ALL if one.module in PURE and own(one.target) and own(one.target) not in PURE]
    refuse(offences, "a pure module imports pure modules only")


@pytest.mark.parametrize("name", HOMES)
def test_libraries_stay_in_their_room(name: str) -> None:
    refuse([one for one in ALL if one.library == name and one.room not in HOMES[name]], f"{name} belongs elsewhere")


@pytest.mark.req("A-06")
def test_no_shell_and_no_pickle() -> None:
    """Text of strangers reaches no other program and no unpickler."""
    offences = [one for one in ALL if one.library in ("pickle", "shelve", "marshal")]
    offences += [one for one in ALL if one.library == "subprocess" and one.module != "cli.demo.play"]
    refuse(offences, "not in a server")


def test_the_checker_sees_offences(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names file and line."""
    bad = Import("core.log", 7, "sipsms.store.writer.Writer")
    monkeypatch.setitem(globals(), "ALL", [*ALL, bad])
    with pytest.raises(pytest.fail.Exception, match=r"sipsms/core/log.py:7: imports sipsms.store.writer.Writer"):
        test_rooms_import_only_rooms_to_their_left()


def test_the_architecture_page_shows_these_rooms() -> None:
    found = BLOCK.search(PAGE.read_text())
    assert found is not None
    assert found[0] == block(), "run: python -m tests.house.rules"
