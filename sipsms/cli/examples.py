"""Commands that print the files to start from: the configuration, a carrier's settings, the dialplan.

The files are those of etc/ and dialplan/ in the source folder; an installed package has them below share/sipsms."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from pathlib import Path

import rich_click as click

import sipsms
from sipsms.cli.base import Context, cli, pass_context


def _folders() -> Iterator[Path]:
    """Yield the places where the files may be: the source folder, and those of the ways to install a package."""
    yield Path(sipsms.__file__).resolve().parents[1]
    for scheme in sysconfig.get_scheme_names():
        yield Path(sysconfig.get_path("data", scheme)) / "share/sipsms"


def find(name: str) -> Path:
    """Return the path of a file or folder of examples, as `etc/sipsms.yaml`. Raises ClickException."""
    found = next((folder / name for folder in _folders() if (folder / name).exists()), None)
    if found is None:
        raise click.ClickException(f"this installation has no {name}: see the source folder")
    return found


@cli.group()
def config() -> None:
    """Print examples of the configuration and of the dialplan, or the file in use."""


@config.command("example")
@click.argument("name", type=click.Choice(["sipsms", "numbering", "routing"]), default="sipsms")
def config_example(name: str) -> None:
    """Print sipsms.yaml with all options and their defaults, or a file of the dialplan.

    Write it to a file: sipsms config example > sipsms.yaml"""
    folder = "etc" if name == "sipsms" else "dialplan"
    click.echo(find(f"{folder}/{name}.yaml").read_text("utf-8"), nl=False)


@config.command("path")
@pass_context
def config_path(context: Context) -> None:
    """Print the path of the configuration that the commands use."""
    click.echo(context.path.absolute())


@cli.group()
def carrier() -> None:
    """Print examples of carriers' settings. `sipsms carriers` lists those that are configured."""


@carrier.command("example")
@click.argument("name", required=False)
def carrier_example(name: str | None) -> None:
    """Print the settings of a carrier, to paste under `carriers`. Without a name, list the examples."""
    files = {path.stem: path for path in sorted(find("etc/carriers").glob("*.yaml"))}
    if name is None:
        click.echo("\n".join(files))
        return
    if name.lower() not in files:
        raise click.ClickException(f"no example of {name}; there are {', '.join(files)}")
    click.echo(files[name.lower()].read_text("utf-8"), nl=False)
