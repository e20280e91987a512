#!/usr/bin/env python3
"""Compiles the modules that a message passes through to machine code: the same sources, a third less CPU.

    python -m tools.compile [--into FOLDER]

It makes a wheel in dist/ with mypyc (https://mypyc.readthedocs.io), for this Python and this kind of machine; all other
modules are in it as they are. `--into` unpacks it, too. It needs gcc and Python's headers (Debian: gcc python3-dev) and
some three minutes. Nothing else in sipsms needs a compiler.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]

# Only what a usual MESSAGE or REGISTER passes through. Subclasses of str and of library classes cannot be compiled.
MODULES: Final = {
    "core": "account e164 message queue_rows refusal registration report_request segmentation",
    "routing": "dialplan numbering",
    "accounts": "directory quota",
    "messaging": "attachments carrier concatenation content_policy delivery_reports device_queue gateway opt_out "
    "opt_out_keywords order outbound planner reporter retry_guard router",
    "messaging/queue": "backoff courier_state dispatcher failover lanes queue sweeper wake_up worker",
    "sip": "auth_limiter body_reader digest endpoint flood_limiter flow_token headers message message_server proxy "
    "registrar rules server transaction uri usual",
}

_SETUP: Final = """
from mypyc.build import mypycify
from setuptools import setup

setup(ext_modules=mypycify([*{files!r}, "--follow-imports=silent"], opt_level="3"))
"""


def files() -> list[str]:
    return [f"sipsms/{room}/{name}.py" for room, names in MODULES.items() for name in names.split()]


def compile_wheel(work: Path, into: Path) -> Path:
    """Build the wheel in `work` and put it into the folder `into`. Raises CalledProcessError."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(ROOT / "sipsms", work / "sipsms", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, work)
    (work / "setup.py").write_text(_SETUP.format(files=files()))
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", into, work], check=True, cwd=work)
    return max(into.glob("sipsms-*-cp*.whl"), key=lambda wheel: wheel.stat().st_mtime)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, help="folder for the unpacked wheel, to be put on PYTHONPATH")
    into = parser.parse_args().into
    print(f"compiling {len(files())} modules; this takes some minutes ...", flush=True)
    wheel = compile_wheel(ROOT / "build" / "compiled", ROOT / "dist")
    print(f"{wheel.relative_to(ROOT)}: install it with `pip install --force-reinstall --no-deps`")
    if into is not None:
        shutil.rmtree(into, ignore_errors=True)
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(into)
        print(f"{into}: unpacked")


if __name__ == "__main__":
    main()
