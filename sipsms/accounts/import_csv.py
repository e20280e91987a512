"""The CSV file of `sipsms import`: one row for each account, read into the same tree as the YAML file.

Spreadsheets write such files in several ways: with a byte order mark, and with commas, semicolons or tabs between the
values. Errors have the row's line."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from sipsms.core.yaml_file import ConfigError, Document

COLUMNS: Final = ("name", "customer", "password", "caller_id", "dids")
_REQUIRED: Final = "name"
_DELIMITERS: Final = ",;\t"

Where = tuple[str | int, ...]
Row = tuple[int, Mapping[str, str]]  # line, and values by column; an empty value is an absent one


def parse(path: Path, text: str) -> Document:
    """Return the tree of a CSV file. Raises ConfigError with all that is wrong."""
    errors: list[str] = []
    rows = list(_rows(path, text.removeprefix("\ufeff"), errors))
    document = _tree(path, rows, errors)
    if errors:
        raise ConfigError(errors)
    return document


def _rows(path: Path, text: str, errors: list[str]) -> Iterator[Row]:
    head = text.partition("\n")[0]
    reader = csv.reader(text.splitlines(keepends=True), delimiter=max(_DELIMITERS, key=head.count), strict=True)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        unknown = [name for name in names if name not in COLUMNS]
        if unknown or _REQUIRED not in names or len(set(names)) < len(names):
            errors.append(f"{path}:1: expected a row of column names, out of {' '.join(COLUMNS)}, each once")
            return
        for values in reader:
            if len(values) > len(names):
                errors.append(f"{path}:{reader.line_num}: {len(values)} values, but there are {len(names)} columns")
            elif any(map(str.strip, values)):
                row = {name: value.strip() for name, value in zip(names, values, strict=False) if value.strip()}
                yield reader.line_num, row
    except csv.Error as error:
        errors.append(f"{path}:{reader.line_num}: {error}")


def _tree(path: Path, rows: list[Row], errors: list[str]) -> Document:
    """Return the customers with their subaccounts and DIDs. A DID delivers to the account of its row."""
    accounts: list[dict[str, Any]] = []
    lines: dict[Where, int] = {("accounts",): 1}
    places: dict[str, int] = {}  # of customers
    for line, row in rows:
        if "customer" not in row:
            places.setdefault(row.get("name", ""), len(accounts))
            _note(lines, ("accounts", len(accounts)), line, row)
            accounts.append({**_account(row), "subaccounts": [], "dids": []})
    for line, row in rows:
        place = places.get(row.get("customer", row.get("name", "")))
        if place is None:
            errors.append(f"{path}:{line}: customer {row['customer']!r} has no row of its own")
            continue
        entry = accounts[place]
        if "customer" in row:
            _note(lines, ("accounts", place, "subaccounts", len(entry["subaccounts"])), line, row)
            entry["subaccounts"].append(_account(row))
        for number in row.get("dids", "").split():
            _note(lines, ("accounts", place, "dids", len(entry["dids"])), line, ("number", "sip_account"))
            entry["dids"].append({"number": number, "sip_account": row.get("name", "")})
    return Document(path, {"accounts": accounts}, lines)


def _note(lines: dict[Where, int], where: Where, line: int, keys: Iterable[str]) -> None:
    """Note the line of an entry, its values and its list."""
    lines.setdefault(where[:-1], line)
    lines |= {where: line, **{(*where, key): line for key in keys}}


def _account(row: Mapping[str, str]) -> dict[str, str]:
    return {key: row[key] for key in ("name", "password", "caller_id") if key in row}
