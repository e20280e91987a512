"""The fuzzers' targets: their seeds, inputs that once found a bug, and a few changes of the seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.fuzz.targets import CASES, TARGETS, kept, mutations

_OTHERS = {"__init__", "__main__", "carriers_under_test", "run", "targets"}


def test_each_file_is_a_target_of_the_table() -> None:
    files = {path.stem for path in Path("tools/fuzz").glob("*.py")}
    assert files - _OTHERS == set(TARGETS)
    assert {path.name for path in CASES.iterdir() if path.is_dir()} <= set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_small_changes_of_them_find_no_bug(name: str) -> None:
    target = TARGETS[name]
    seeds = target.seeds()
    assert seeds
    for data in (*seeds, b"", b"\0", *mutations(seeds, 150)):
        target.check(data)


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_that_once_found_a_bug_find_none(name: str) -> None:
    for path in kept(name):
        TARGETS[name].check(path.read_bytes())
    assert all(path.stat().st_size <= 65_536 for path in kept(name)), "small enough for the repository"
