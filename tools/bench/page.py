"""Writes the main table of docs/measurements.md anew from results of the bench.

python -m tools.bench --outstanding 128 --json build/bench.json
python -m tools.bench.carriers --json build/carriers.json
python -m tools.bench.page build/bench.json build/carriers.json
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

PAGE: Final = Path(__file__).parents[2] / "docs" / "measurements.md"
BLOCK: Final = re.compile(r"(?<=<!-- figures: written by python -m tools.bench.page -->\n).*?(?=<!-- end -->)", re.S)
TITLES: Final = {
    "register": "REGISTER, durable",
    "message": "MESSAGE accepted, durable",
    "message-end-to-end": "MESSAGE in, and out to the loopback carrier",
    "inbound": "MESSAGE to a DID, delivered to a phone",
    "http-carrier": "MESSAGE in, out by an HTTP carrier's API, closed",
    "hook-to-phone": "a carrier's hook, delivered to a phone",
}
OURS: Final = "sipsms"


def block(results: Sequence[dict[str, Any]]) -> str:
    """Return the table. `results`: `Result` as JSON, each scenario with ours and its peers."""
    head = "| scenario | server | per s | p50 / p99 ms | CPU-s per 1000 | sipsms compared with it |"
    lines = ["", head, "|---|---|---|---|---|---|"]
    for name, title in TITLES.items():
        rows = [row for row in results if row["scenario"] == name]
        base = next((row for row in rows if row["peer"] == OURS), None)
        lines += [_row(title if index == 0 else "", row, base) for index, row in enumerate(rows)]
    return "\n".join([*lines, "", ""])


def _row(title: str, row: dict[str, Any], base: dict[str, Any] | None) -> str:
    ratio = ""
    if base is not None and base is not row:
        rate, cpu = base["per_second"] / row["per_second"], base["cpu_per_1000"] / row["cpu_per_1000"]
        ratio = f"{rate:.2f} × rate, {cpu:.2f} × CPU"
    return (
        f"| {title} | {row['peer']} | {row['per_second']:,.0f} | {row['p50_ms']:.0f} / {row['p99_ms']:.0f} "
        f"| {row['cpu_per_1000']:.3f} | {ratio} |"
    )


def results_of(paths: Iterable[Path]) -> list[dict[str, Any]]:
    return [row for path in paths for row in json.loads(path.read_text())["median"]]


def main(arguments: Sequence[str]) -> None:
    if not arguments:
        sys.exit(__doc__)
    found = results_of(map(Path, arguments))
    text = PAGE.read_text()
    if not BLOCK.search(text):
        sys.exit(f"{PAGE}: the place for the figures is missing")
    PAGE.write_text(BLOCK.sub(lambda _: block(found), text))


if __name__ == "__main__":
    main(sys.argv[1:])
