"""Figures: percentile, median over runs, the table, the JSON. Pure but for `print`ing callers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

GENERATOR_BOUND = 0.93  # of a core: above, the generator was the limit and the rate is a lower bound


@dataclass(slots=True)
class Result:
    """One scenario against one peer, once."""

    peer: str
    scenario: str
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_per_1000: float
    memory_mb: float
    generator_cpu: float
    jobs: int
    failures: dict[str, int] = field(default_factory=dict)
    retransmissions: int = 0
    repeats: int = 0
    accepted: int = 0  # 2xx that the senders got
    rows: int | None = None  # what the store had more of afterwards; None: nothing is stored

    @property
    def honest(self) -> bool:
        return self.rows is None or self.rows >= self.accepted


@dataclass(slots=True)
class Memory:
    peer: str
    bindings: int
    before_mb: float
    after_mb: float
    register_per_second: float

    @property
    def kb_each(self) -> float:
        return (self.after_mb - self.before_mb) * 1024 / self.bindings


def percentile(values: Sequence[float], percent: float) -> float:
    """Nearest rank; 0 for nothing."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def combine(runs: Sequence[Result]) -> Result:
    """Medians of the figures, sums of the counts."""
    first = runs[0]
    figures = ("per_second", "p50_ms", "p99_ms", "cpu_per_1000", "memory_mb", "generator_cpu")
    failures: Counter[str] = Counter()
    for run in runs:
        failures.update(run.failures)
    counted = [run.rows for run in runs if run.rows is not None]
    return Result(
        first.peer,
        first.scenario,
        **{name: median(getattr(run, name) for run in runs) for name in figures},
        jobs=sum(run.jobs for run in runs),
        failures=dict(failures),
        retransmissions=sum(run.retransmissions for run in runs),
        repeats=sum(run.repeats for run in runs),
        accepted=sum(run.accepted for run in runs),
        rows=sum(counted) if counted else None,
    )


def grouped(results: Iterable[Result]) -> list[Result]:
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.scenario, result.peer), []).append(result)
    return [combine(runs) for runs in groups.values()]


def table(results: Sequence[Result], ours: str) -> str:
    """Plain text: one block a scenario, with the ratio of ours to each peer (above 1: ours is ahead)."""
    lines = [
        f"{'scenario':<22}{'server':<27}{'per s':>8}{'p50 ms':>8}{'p99 ms':>8}{'CPU-s/1000':>11}{'MB':>7}"
        f"{'rows/2xx':>16}{'fail':>6}{'retr':>6}   ratio",
    ]
    for scenario in dict.fromkeys(r.scenario for r in results):
        block = [r for r in results if r.scenario == scenario]
        base = next((r for r in block if r.peer == ours), None)
        lines += [_row(r, base) for r in block]
    return "\n".join(lines)


def _row(r: Result, base: Result | None) -> str:
    rows = "-" if r.rows is None else f"{r.rows}/{r.accepted}{'' if r.honest else ' LOST'}"
    limit = ">" if r.generator_cpu >= GENERATOR_BOUND else ""
    return (
        f"{r.scenario:<22}{r.peer:<27}{f'{limit}{r.per_second:,.0f}':>8}{r.p50_ms:>8.1f}{r.p99_ms:>8.1f}"
        f"{r.cpu_per_1000:>11.3f}{r.memory_mb:>7.0f}{rows:>16}{sum(r.failures.values()):>6}{r.retransmissions:>6}   "
        f"{_ratio(r, base)}"
    )


def _ratio(r: Result, base: Result | None) -> str:
    if base is None or base is r or not r.per_second or not base.cpu_per_1000:
        return ""
    return f"{base.per_second / r.per_second:.2f} x rate, {base.cpu_per_1000 / r.cpu_per_1000:.2f} x CPU"


def memory_table(rows: Sequence[Memory]) -> str:
    lines = [f"{'bindings':>9}  {'server':<27}{'before MB':>10}{'after MB':>10}{'KB each':>9}{'REGISTER/s':>12}"]
    lines += [
        f"{m.bindings:>9,}  {m.peer:<27}{m.before_mb:>10.1f}{m.after_mb:>10.1f}{m.kb_each:>9.2f}"
        f"{m.register_per_second:>12,.0f}"
        for m in rows
    ]
    return "\n".join(lines)


def as_json(results: Sequence[Result], runs: Sequence[Result], memory: Sequence[Memory], about: dict[str, Any]) -> Any:
    return {
        "about": about,
        "median": [asdict(r) | {"honest": r.honest} for r in results],
        "runs": [asdict(r) for r in runs],
        "memory": [asdict(m) | {"kb_each": m.kb_each} for m in memory],
    }
