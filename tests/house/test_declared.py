"""Every package that the code imports is declared in setup.cfg: what others bring today, they may drop tomorrow."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The names of distributions that differ from those of their modules.
DISTRIBUTIONS = {
    "yaml": "pyyaml",
    "phonenumbers": "phonenumberslite",
    "pjsua2": "pjsua2-python",
    "argon2": "argon2-cffi",
}


def imported() -> Iterator[str]:
    for path in (ROOT / "sipsms").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (one.name for one in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module


def declared() -> set[str]:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    lines = [settings["options"]["install_requires"], *settings["options.extras_require"].values()]
    return {re.split(r"[^A-Za-z0-9._-]", line)[0].lower() for text in lines for line in text.split("\n") if line}


def test_every_imported_package_is_declared() -> None:
    modules = {name.partition(".")[0] for name in imported()} - set(sys.stdlib_module_names) - {"sipsms"}
    names = {DISTRIBUTIONS.get(name, name.lower().replace("_", "-")) for name in modules}
    assert names - declared() == set()
