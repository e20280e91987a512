"""Run targets one after the other under atheris (libFuzzer): python -m tools.fuzz [--seconds 60] [NAME ...]

Inputs that reach new code are kept in var/fuzz/NAME, so that the next run continues there. An input that finds a bug is
written to tests/testdata/fuzz/NAME, with the traceback on the terminal.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from tools.fuzz.targets import CASES, ROOT, TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description="Fuzz what reads octets of others.")
    parser.add_argument("--seconds", type=int, default=60, help="time for each target (default: 60)")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"targets: {', '.join(TARGETS)} (default: all)")
    given = parser.parse_args()
    if unknown := set(given.names) - set(TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    failed = [name for name in given.names or TARGETS if _run(name, given.seconds)]
    print(f"bugs found: {', '.join(failed)}; the inputs are in {CASES}" if failed else "no bug found")
    return 1 if failed else 0


def _run(name: str, seconds: int) -> int:
    print(f"--- {name}: {seconds} s", flush=True)
    command = [sys.executable, "-m", "tools.fuzz.run", name, str(seconds)]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
