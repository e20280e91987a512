"""SMPP settings of a DID, and the rule that a username belongs to one customer.

See `core.account.Smpp`. Customers' programs bind by username and password. Two customers must never share a username,
neither a chosen one nor the customer's name that stands for an empty one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, literal_column, select

from sipsms.core.errors import AdminError, BadValue
from sipsms.core.smpp_url import without_password
from sipsms.core.ssrf import check_smpp_url
from sipsms.store import destinations
from sipsms.store.schema import accounts, did_targets, dids

FIELDS: Final = ("smpp", "smpp_username", "smpp_password", "smpp_url")
_WORD: Final = re.compile(r"[!-~]{0,64}")
_USUAL: Final[dict[str, Any]] = {"username": "", "password": "", "enabled": True}
_KIND: Final = did_targets.c.kind == literal_column("'smpp'")  # a literal, so that the partial index is used


def settings(
    connection: Connection, number: str, given: Mapping[str, Any], *, allow_private: bool
) -> list[tuple[str, dict[str, Any]]]:
    """Return the DID's stored SMPP destination changed by `given`; empty if no setting is left.

    Raises BadValue or AdminError."""
    owner, url, options = _known(connection, number, given)
    _check(given, url, allow_private)
    new_url = given.get("smpp_url", url)
    url = url if new_url == without_password(url) else new_url
    for name in ("username", "password"):
        options[name] = given.get(f"smpp_{name}", options[name])
    has_way = bool(url or options["password"])
    if given.get("smpp") and not has_way:
        raise BadValue(
            "smpp_password", "SMPP needs one for the customer's program, or the URL of the customer's server"
        )
    options["enabled"] = given.get("smpp", options["enabled"]) and has_way
    _check_username(connection, owner, options["username"] or owner)
    there = url or options["username"] or options["password"]
    return [(url, options)] if there else []


def _known(connection: Connection, number: str, given: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Return (owner, URL, options) of the DID. For a new owner, URL and options start empty."""
    owner = connection.execute(select(dids.c.account).where(dids.c.number == number)).scalar()
    if owner is None:
        raise AdminError(f"no DID {number}")
    if given.get("account", owner) != owner:
        return given["account"], "", dict(_USUAL)
    url, options = destinations.options(connection, number, "smpp") or ("", {})
    return str(owner), url, {**_USUAL, **options}


def _check(given: Mapping[str, Any], known_url: str, allow_private: bool) -> None:
    for name in ("smpp_username", "smpp_password"):
        if not _WORD.fullmatch(given.get(name, "")):
            raise BadValue(name, "up to 64 visible ASCII characters")
    url = given.get("smpp_url")
    if url and url != without_password(known_url) and (why := check_smpp_url(url, allow_private)):
        raise BadValue("smpp_url", why)


def _check_username(connection: Connection, owner: str, username: str) -> None:
    named = connection.execute(select(accounts.c.name, accounts.c.parent).where(accounts.c.name == username)).first()
    if named is not None and (named.parent or named.name) != owner:
        raise BadValue("smpp_username", f"{username} is another customer's")
    words = f'"username": {json.dumps(username)}'
    others = (
        select(did_targets.c.options)
        .join(dids, dids.c.number == did_targets.c.did)
        .where(_KIND, did_targets.c.options.contains(words, autoescape=True), dids.c.account != owner)
    )
    if any(json.loads(one)["username"] == username for one in connection.execute(others).scalars()):
        raise BadValue("smpp_username", f"{username} is another customer's")
