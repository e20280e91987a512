"""Examples that the command line prints: each is a file that sipsms takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from sipsms.app.settings import load
from sipsms.cli import cli, examples
from sipsms.routing import rules_file

ROOT = Path(__file__).resolve().parents[2]
CARRIERS = sorted(path.stem for path in (ROOT / "etc/carriers").glob("*.yaml"))


def run(*arguments: str, code: int = 0, **environment: str) -> str:
    done = CliRunner(env=environment).invoke(cli, arguments)
    assert done.exit_code == code, done.output
    return done.output


def test_the_example_of_the_configuration_is_one(tmp_path: Path) -> None:
    file = tmp_path / "sipsms.yaml"
    file.write_text(run("config", "example"))
    assert file.read_text() == (ROOT / "etc/sipsms.yaml").read_text()
    assert load(file, secrets=False).store_url.startswith("sqlite:///")


def test_the_examples_of_the_dialplan_are_its_files(tmp_path: Path) -> None:
    for name in ("numbering", "routing"):
        (tmp_path / f"{name}.yaml").write_text(run("config", "example", name))
    assert rules_file.load(tmp_path, ["sim"]).numbering == rules_file.load(None, ["sim"]).numbering


@pytest.mark.parametrize("name", CARRIERS)
def test_each_carrier_has_its_example(name: str) -> None:
    assert yaml.safe_load(run("carrier", "example", name)) == yaml.safe_load(
        (ROOT / f"etc/carriers/{name}.yaml").read_text()
    )


def test_examples_are_listed_and_an_unknown_one_is_refused() -> None:
    assert run("carrier", "example").split() == CARRIERS
    assert run("carrier", "example", "Vonage") == run("carrier", "example", "vonage")
    assert "there are bandwidth" in run("carrier", "example", "nobody", code=1)


def test_an_installed_package_has_the_files_below_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "share/sipsms/etc").mkdir(parents=True)
    (tmp_path / "share/sipsms/etc/sipsms.yaml").write_text("domain: installed\n")
    monkeypatch.setattr(examples.sipsms, "__file__", str(tmp_path / "lib/sipsms/__init__.py"))
    monkeypatch.setattr(examples.sysconfig, "get_path", lambda _name, _scheme: str(tmp_path))
    assert run("config", "example") == "domain: installed\n"
    assert "this installation has no etc/carriers" in run("carrier", "example", code=1)


def test_the_environment_names_the_configuration(tmp_path: Path) -> None:
    """`-c` wins over it."""
    (tmp_path / "a.yaml").write_text("domain: sip.example.net\n")
    assert run("config", "path", SIPSMS_CONFIG=str(tmp_path / "a.yaml")).strip() == str(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("domain: sip.example.net\n")
    shown = run("-c", str(tmp_path / "b.yaml"), "config", "path", SIPSMS_CONFIG=str(tmp_path / "a.yaml"))
    assert shown.strip() == str(tmp_path / "b.yaml")
