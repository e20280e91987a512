"""Rows of DIDs and groups and the rules for changing them. Synchronous; see `store.accounts`."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update

from sipsms.core.account import Did
from sipsms.core.errors import AdminError, BadValue
from sipsms.core.smpp_url import without_password
from sipsms.core.ssrf import check_url
from sipsms.store import destinations as targets
from sipsms.store import smpp_settings, tokens, users
from sipsms.store.accounts import EMAIL, account, changed, customer
from sipsms.store.directory import with_targets
from sipsms.store.schema import dids, group_members, groups

_BEARER: Final = re.compile(r"[\x21-\x7e]{1,512}")


def add_did(connection: Connection, number: str, owner: str, now: float, *, sip_account: str, sms: bool) -> None:
    if connection.execute(select(dids.c.number).where(dids.c.number == number)).first():
        raise AdminError(f"DID {number} exists already")
    customer(connection, owner)
    _check_sip_account(connection, owner, sip_account)
    row = {"number": number, "account": owner, "sip_account": sip_account, "sms": sms, "created_at": now}
    connection.execute(insert(dids), {**row, "version": changed(connection)})


def _check_sip_account(connection: Connection, owner: str, name: str) -> None:
    if not name:
        return
    row = account(connection, name)
    if name != owner and row.parent != owner:
        raise AdminError(f"{name} is not an account of {owner}")


Destinations = dict[str, list[tuple[str, dict[str, Any]]]]  # kind -> (target, options)
MAX_EMAILS: Final = 20  # e-mail addresses per DID
OFF: Final = "switched off by its owner"
PLACEHOLDERS = ("{FROM}", "{ID}", "{MEDIA}", "{MESSAGE}", "{TIMESTAMP}", "{TO}")
_COLUMNS = ("account", "sip_account", "dialing_mode", "sms", "mms")


def change_did(connection: Connection, number: str, given: Mapping[str, Any], *, allow_private: bool) -> None:
    """Change a DID for an operator or a customer.

    A setting that is absent or None stays as it is. Settings: `account`, `sip_account`, `dialing_mode` ("", nanpa,
    e164), `sms`, `mms`, `emails` (a list), `forward` (a number), `group`, `callback`, `callback_retry`, `webhook`,
    `bearer`, `webhook_secret`. An empty destination is removed. `sms_by_customer`: False switches SMS off; True undoes
    only the customer's own False, never the operator's. `callback_on`, `webhook_on`: False keeps the URL and its
    options, but nothing is sent there. `smpp` (False keeps the settings), `smpp_username` (empty: the customer's name),
    `smpp_password`, `smpp_url` (empty: removed; the URL as displayed, with its password hidden: unchanged). Raises
    BadValue or AdminError.
    """
    given = {name: value for name, value in given.items() if value is not None}
    _check(number, given, allow_private)
    values = {name: given[name] for name in _COLUMNS if name in given} | _sms(connection, number, given)
    new = _destinations(connection, number, given)
    if any(name in given for name in smpp_settings.FIELDS):
        new["smpp"] = smpp_settings.settings(connection, number, given, allow_private=allow_private)
    set_did(connection, number, new, **values)


def _sms(connection: Connection, number: str, given: Mapping[str, Any]) -> dict[str, bool]:
    """Return the columns for SMS. The operator's setting overrides the customer's."""
    if "sms" in given:
        return {"sms_paused": False}
    row = connection.execute(select(dids.c.sms, dids.c.sms_paused).where(dids.c.number == number)).first()
    on = given.get("sms_by_customer")
    if row is None or on is None or on == row.sms:
        return {}
    if on and not row.sms_paused:
        raise BadValue("sms_by_customer", "SMS is switched off for this number; its operator may switch it on")
    return {"sms": on, "sms_paused": not on}


def _check(number: str, given: Mapping[str, Any], allow_private: bool) -> None:
    for name in ("callback", "webhook"):
        if given.get(name) and (why := check_url(given[name], allow_private)):
            raise BadValue(name, why)
    unknown = set(re.findall(r"\{[A-Za-z]*\}", given.get("callback", ""))) - set(PLACEHOLDERS)
    if unknown:
        raise BadValue("callback", f"{' '.join(sorted(unknown))}: known are {' '.join(PLACEHOLDERS)}")
    if (wrong := next((one for one in given.get("emails", ()) if not EMAIL.fullmatch(one)), None)) is not None:
        raise BadValue("emails", f"{wrong!r} is not an e-mail address")
    if len(set(given.get("emails", ()))) > MAX_EMAILS:
        raise BadValue("emails", f"at most {MAX_EMAILS} addresses")
    if given.get("dialing_mode", "") not in ("", "nanpa", "e164"):
        raise BadValue("dialing_mode", "nanpa, e164 or nothing")
    if given.get("forward") == number:
        raise BadValue("forward", "a DID cannot forward to itself")
    for name in ("bearer", "webhook_secret"):
        if given.get(name) and not all(_BEARER.fullmatch(one) for one in given[name].split(" ")):
            raise BadValue(name, "ASCII characters, at most 512")


def _destinations(connection: Connection, number: str, given: Mapping[str, Any]) -> Destinations:
    """Return the given destinations by kind. An option without its URL keeps the stored URL."""
    found: Destinations = {}
    if "emails" in given:
        found["email"] = [(one, {}) for one in dict.fromkeys(given["emails"])]
    for kind in ("forward", "group"):
        if kind in given:
            found[kind] = [(given[kind], {})] if given[kind] else []
    for kind, options in (
        ("callback", {"retry": given.get("callback_retry")}),
        ("webhook", {"bearer": given.get("bearer"), "secret": given.get("webhook_secret")}),
    ):
        options = {name: value for name, value in options.items() if value is not None}
        on = given.get(f"{kind}_on")
        if kind in given or options or on is not None:
            found[kind] = _endpoint(connection, number, kind, given.get(kind), options, on)
    return found


def _endpoint(
    connection: Connection, number: str, kind: str, url: str | None, options: dict[str, Any], on: bool | None
) -> list[tuple[str, dict[str, Any]]]:
    """Return the row of a callback or webhook, enabled again unless `on` is False."""
    if url == "":
        return []
    known, known_options = targets.options(connection, number, kind) or ("", {})
    fresh = url or known
    if not fresh:
        raise AdminError(f"DID {number} has no {kind}: give its URL")
    kept = targets.kept_options(connection, number, kind, fresh)
    if on is False:
        kept["disabled"] = (known_options.get("disabled") if fresh == known else "") or OFF
    return [(fresh, kept | options)]


def set_did(connection: Connection, number: str, new: Destinations, **values: Any) -> None:
    """Set columns (`values`) and replace all destinations of the kinds in `new`. Raises AdminError."""
    row = connection.execute(select(dids).where(dids.c.number == number)).first()
    if row is None:
        raise AdminError(f"no DID {number}")
    owner = values.get("account", row.account)
    if owner != row.account:  # the old customer must get nothing of the new customer's messages
        customer(connection, owner)
        values = {"sip_account": "", **values, "created_at": time.time()}  # start of the new customer's ownership
        targets.forget(connection, number)
        tokens.forget_did(connection, number)
        users.forget_did(connection, number)
    _check_sip_account(connection, owner, values.get("sip_account", ""))
    for name, _ in new.get("group", []):
        check_group(connection, owner, name)
    for kind, destinations in new.items():
        targets.replace(connection, number, kind, destinations)
    if values or new:
        fresh = {**values, "version": changed(connection)}
        connection.execute(update(dids).where(dids.c.number == number).values(fresh))


def remove_did(connection: Connection, number: str) -> None:
    if connection.execute(delete(dids).where(dids.c.number == number)).rowcount == 0:
        raise AdminError(f"no DID {number}")
    targets.forget(connection, number)
    tokens.forget_did(connection, number)
    users.forget_did(connection, number)
    changed(connection, removed=True)


def all_dids(connection: Connection) -> Iterator[Did]:
    yield from with_targets(connection, connection.execute(select(dids).order_by(dids.c.number)).all())


def did_row(did: Did) -> dict[str, Any]:
    """Return a DID as lists show it, without its secrets."""
    return {
        "number": did.number, "account": did.account, "sip_account": did.sip_account, "sms": did.sms, "mms": did.mms,
        "dialing_mode": did.dialing_mode, "group": did.group, "emails": list(did.emails), "forward": did.forward,
        "callback": did.callback.url if did.callback else "",
        "callback_retry": did.callback.retry if did.callback else False,
        "webhook": did.webhook.url if did.webhook else "", "smpp": did.smpp is not None and did.smpp.enabled,
        "smpp_username": did.smpp_username, "smpp_url": without_password(did.smpp.url) if did.smpp else "",
    }  # fmt: skip


def endpoint_rows(did: Did) -> Iterator[dict[str, Any]]:
    """Yield the callback and the webhook of a DID, and whether each is disabled."""
    for kind, one in (("callback", did.callback), ("webhook", did.webhook)):
        if one is not None:
            yield {"did": did.number, "kind": kind, "url": one.url, "on": not one.disabled, "why": one.disabled}


# --- groups ----------------------------------------------------------------------------------------------------------


def check_group(connection: Connection, owner: str, name: str) -> None:
    row = connection.execute(select(groups).where(groups.c.name == name)).first()
    if row is None or row.account != owner:
        raise AdminError(f"no group {name} of {owner}")


def put_group(connection: Connection, name: str, members: Sequence[str]) -> str:
    """Create a group or replace its members. Return the customer that owns them all. Raises AdminError."""
    owners = set()
    for member in members:
        row = account(connection, member)
        owners.add(row.parent or row.name)
    if len(owners) != 1:
        raise AdminError(f"the members belong to several customers: {', '.join(sorted(owners))}")
    (owner,) = owners
    known = connection.execute(select(groups).where(groups.c.name == name)).first()
    if known is not None and known.account != owner:
        raise AdminError(f"group {name} belongs to {known.account}")
    if known is None:
        connection.execute(insert(groups), {"name": name, "account": owner})
    connection.execute(delete(group_members).where(group_members.c.group_name == name))
    connection.execute(insert(group_members), [{"group_name": name, "member": one} for one in dict.fromkeys(members)])
    targets.touch(connection, targets.using_group(connection, name))
    return str(owner)


def remove_group(connection: Connection, name: str) -> None:
    if connection.execute(select(groups).where(groups.c.name == name)).first() is None:
        raise AdminError(f"no group {name}")
    using = targets.using_group(connection, name)
    if using:
        raise AdminError(f"group {name} is used by DID {using[0]}: take it off there first")
    connection.execute(delete(groups).where(groups.c.name == name))
    connection.execute(delete(group_members).where(group_members.c.group_name == name))
