"""The compiled package: the list names modules that exist, and what is compiled works like the source."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tools import compile as compiler

_TRY = """
from sipsms.core import e164
print(e164.__file__.endswith(".so"), e164.normalise("+1 212 555 0123"), e164.telephone_number("x"))
"""


def test_the_list_names_modules_that_exist() -> None:
    assert [name for name in compiler.files() if not (compiler.ROOT / name).exists()] == []


def test_a_wheel_has_compiled_modules_that_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("gcc") is None or not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists():
        pytest.skip("no gcc or no headers of Python here: nothing can be compiled")
    monkeypatch.setattr(compiler, "MODULES", {"core": "e164"})  # all of them take minutes
    wheel = compiler.compile_wheel(tmp_path / "work", tmp_path / "dist")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "package")
    done = subprocess.run(
        [sys.executable, "-c", _TRY], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "package")}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["True", "2125550123", "None"]
