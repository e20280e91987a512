"""Docstrings open with a verb or a noun: a fragment ("What ...", "Those that ...") says too little by itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "sipsms"

_FRAGMENT = re.compile(
    r"(What|Who|Whose|Whom|Where|Which|Those|That|These|It|One|None|How|Why|As|Of|Whether|When|If|Once|But|And|Or|"
    r"Also|While|Until|Another|Else)\b"
)


def docstrings() -> Iterator[tuple[str, str]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if "migrations" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                line = getattr(node, "lineno", 1)
                yield f"{path.relative_to(PACKAGE.parent)}:{line}", ast.get_docstring(node) or ""


def test_docstrings_open_with_a_verb_or_a_noun() -> None:
    assert [f"{where}: {text.splitlines()[0]}" for where, text in docstrings() if _FRAGMENT.match(text)] == []
