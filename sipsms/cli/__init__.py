"""The command line.

Every list has --json. Every expected error is one line. Exit codes: 0 done, 1 not possible, 2 wrong usage.
"""

from __future__ import annotations

import sys

import rich_click as click
from click.exceptions import Abort, Exit

from sipsms.cli.base import cli

__all__ = ["cli", "main"]


def main() -> None:
    """Run the command line. Every expected error is one line on stderr."""
    try:
        cli.main(standalone_mode=False, prog_name="sipsms")
    except Exit as error:
        sys.exit(error.exit_code)
    except (Abort, KeyboardInterrupt):
        sys.exit(130)
    except click.UsageError as error:
        where = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        _fail(f"{error.format_message()}{where}", 2)
    except click.ClickException as error:
        _fail(error.format_message(), 1)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as error:
        said = _expected(error)
        if not said:
            raise
        _fail(said, 1)


def _expected(error: Exception) -> str:
    """Return the text for the user, empty for a bug. Imports are here, since `sipsms --version` needs none of them."""
    from sipsms.core.errors import AdminError, Unavailable
    from sipsms.core.yaml_file import ConfigError
    from sipsms.sip.tls import TlsError
    from sipsms.store.engine import DriverError, StoreError

    if isinstance(error, (ConfigError, StoreError, AdminError)):
        return str(error)
    if isinstance(error, (DriverError, TlsError, Unavailable, OSError)):
        return str(getattr(error, "orig", error)).splitlines()[0]
    return ""


def _fail(text: str, code: int) -> None:
    print("\n".join(f"sipsms: {line}" for line in text.splitlines()), file=sys.stderr)
    sys.exit(code)
