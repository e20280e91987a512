"""`python -m tools.ledger --kills 60 --seed 1`: exit code 0 if nothing was lost, doubled, misdirected ..."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from pathlib import Path

from .run import MIX, Options, Result, play

SHOWN = 10  # lines of evidence for each verdict; all of them with --json


def main() -> None:
    arguments = _arguments()
    mix = tuple(word for word in arguments.mix.split(",") if word)
    if not mix or set(mix) - set(MIX):
        sys.exit(f"--mix has some of {','.join(MIX)}")
    options = Options(arguments.kills, arguments.seed, arguments.phones, arguments.esmes, arguments.rate, mix)
    folder = Path(tempfile.mkdtemp(prefix="ledger-"))
    print(f"seed {options.seed}, {options.kills} kills, books in {folder}", file=sys.stderr)
    result = asyncio.run(play(options, folder, lambda line: print(line, file=sys.stderr, flush=True)))
    (folder / "result.json").write_text(json.dumps(_object(options, result), indent=1))
    print(table(result), file=sys.stderr)
    if arguments.json:
        print(json.dumps(_object(options, result)))
    if result.is_good and not arguments.keep:
        shutil.rmtree(folder)
    else:
        print(f"kept: {folder}", file=sys.stderr)
    sys.exit(0 if result.is_good else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.ledger", description=__doc__)
    parser.add_argument("--kills", type=int, default=60, help="how often the server is killed or stopped")
    parser.add_argument("--seed", type=int, default=1, help="of the dice that say when and how")
    parser.add_argument("--rate", type=float, default=20.0, help="new messages a second by all clients together")
    parser.add_argument("--phones", type=int, default=60, help="accounts with phones, up to 300")
    parser.add_argument("--esmes", type=int, default=2, help="SMPP programs")
    parser.add_argument("--mix", default=",".join(MIX), help="kinds of kills: kill, term, stop")
    parser.add_argument("--json", action="store_true", help="print one JSON object with all the evidence")
    parser.add_argument("--keep", action="store_true", help="keep the folder with ledger, store and log")
    return parser.parse_args()


def _object(options: Options, result: Result) -> dict[str, object]:
    counts = {name: len(found) for name, found in result.verdicts.items()}
    return {"seed": options.seed, **result.figures, "verdicts": counts, "evidence": result.verdicts}


def table(result: Result) -> str:
    """Verdicts with the first of their evidence, and figures."""
    lines = [""]
    for name, found in result.verdicts.items():
        lines.append(f"{name:<14}{len(found):>6}")
        lines += [f"    {one}" for one in found[:SHOWN]]
    lines += ["", *(f"{name:<22}{value}" for name, value in result.figures.items())]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
