"""Every operation that a command asks for exists, with these arguments."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

from sipsms import cli
from sipsms.app.operations import NAMES, Operations


def asked() -> Iterator[tuple[str, list[str]]]:
    """Each `context.do("name", argument=...)` of the command line."""
    for path in Path(cli.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "do":
                name = node.args[0]
                if isinstance(name, ast.Constant):
                    yield name.value, [word.arg for word in node.keywords if word.arg]


def test_commands_ask_for_what_there_is() -> None:
    calls = dict(asked())
    assert set(calls) == NAMES
    for name, arguments in calls.items():
        if name not in ("provision", "import_all"):  # whose arguments are gathered elsewhere
            inspect.signature(getattr(Operations, name)).bind(None, **dict.fromkeys(arguments))
