"""tools/requirements.py and the hook in tests/conftest.py that feeds it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("requirements_tool", ROOT / "tools/requirements.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = _load()

REQUIREMENTS = (
    "| C-1 | long texts | ... |\n- **S-001** SMS\n- **S-002** MMS, see S-003\n| G01 | one process | evidence |\n"
)
RELIABILITY = (
    "| D1 | store | why |\n| C-001 | RFC | do |\n| C-065a | RFC | do |\n- I1 every message. I2 no submit twice\n"
)


def test_the_ids_of_the_documents_are_found() -> None:
    found = tool.defined([REQUIREMENTS, RELIABILITY])
    assert found == ["C-1", "S-001", "S-002", "G01", "D1", "C-001", "C-065a", "I1", "I2"]
    assert [tool.group_of(name) for name in found] == ["C-", "S", "S", "G", "D", "C", "C", "I", "I"]
    assert tool.group_of("X-1") == tool.group_of("S-1") == ""


def test_this_projects_documents_define_what_they_say() -> None:
    """168 requirements, 26 gaps, 10 decisions, and the lists of the test plan."""
    ids = tool.defined((ROOT / name).read_text() for name in tool.DOCUMENTS)
    counts = {group: sum(tool.group_of(name) == group for name in ids) for group in tool.GROUPS}
    assert (counts["S"], counts["G"], counts["C-"], counts["I"], counts["D"]) == (168, 26, 10, 8, 11)
    assert (counts["P"], counts["W"], counts["E"], counts["A"]) == (17, 7, 8, 52)
    assert (counts["F"], counts["L"]) == (40, 14)
    assert counts["C"] >= 126
    for name in tool.DOCUMENTS:
        assert "shared/" not in (ROOT / name).read_text()


def test_an_id_is_shown_by_a_passing_test_and_spoilt_by_a_failing_one() -> None:
    results = {
        "a": {"ids": ["S-001", "G01"], "outcome": "passed"},
        "b": {"ids": ["G01", "S-002"], "outcome": "failed"},
        "c": {"ids": ["C-001"], "outcome": "skipped"},
        "d": {"ids": ["Z-9"], "outcome": "passed"},
    }
    found = tool.report(tool.defined([REQUIREMENTS, RELIABILITY]), results)
    groups = found["groups"]
    assert (groups["S"]["shown"], groups["S"]["failing"], groups["S"]["missing"]) == (["S-001"], ["S-002"], [])
    assert groups["G"]["failing"] == ["G01"]
    assert groups["C"]["missing"] == ["C-001", "C-065a"]
    assert found["unknown"] == ["Z-9"]
    text = tool.table(found, missing=True)
    assert "C not shown: C-001 C-065a" in text
    assert "in no document: Z-9" in text
    assert "not shown" not in tool.table(found, missing=False)


def test_the_program_prints_the_table_and_its_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main(["--root", str(tmp_path)]) == 1
    assert "run pytest first" in capsys.readouterr().err
    (tmp_path / "docs/dev").mkdir(parents=True)
    (tmp_path / ".pytest_cache").mkdir()
    for name, text in zip(tool.DOCUMENTS, (REQUIREMENTS, RELIABILITY), strict=True):
        (tmp_path / name).write_text(text)
    results = {"a": {"ids": ["S-001", "Z-9"], "outcome": "passed"}}
    (tmp_path / tool.RESULTS).write_text(json.dumps(results))
    assert tool.main(["--root", str(tmp_path), "--json", "--group", "S"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["groups"]["S"]["shown"] == ["S-001"]
    assert list(printed["groups"]) == ["S"]
    assert tool.main(["--root", str(tmp_path), "--strict"]) == 1
    assert "what the sources describe" in capsys.readouterr().out


@pytest.mark.parametrize("workers", ["0", "2"])
def test_the_hook_stores_the_requirement_ids_that_tests_show(tmp_path: Path, workers: str) -> None:
    """With and without pytest-xdist: set-up, call and tear-down count, an unmarked test does not."""
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "tests/support/tools").mkdir(parents=True)
    guardian = "tests/support/tools/guardian.py"
    (tmp_path / guardian).write_text((ROOT / guardian).read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    req(*ids): ids\n")
    (tmp_path / "test_it.py").write_text(
        """
import pytest
pytestmark = pytest.mark.req("S-001")
@pytest.mark.req("S-002", "S-001")
def test_good(): pass
def test_bad(): assert False
@pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.req("G01")), 2])
def test_param(x): pass
@pytest.mark.skip(reason="no")
def test_skipped(): pass
@pytest.fixture
def broken():
    yield
    assert False
def test_torn(broken): pass
"""
    )
    (tmp_path / "test_plain.py").write_text("def test_unmarked(): pass\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", workers, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    seen = json.loads((tmp_path / ".pytest_cache/requirements.json").read_text())
    short = {test.partition("::")[2]: (entry["ids"], entry["outcome"]) for test, entry in seen.items()}
    assert short == {
        "test_good": (["S-002", "S-001"], "passed"),
        "test_bad": (["S-001"], "failed"),
        "test_param[1]": (["G01", "S-001"], "passed"),
        "test_param[2]": (["S-001"], "passed"),
        "test_skipped": (["S-001"], "skipped"),
        "test_torn": (["S-001"], "failed"),
    }
