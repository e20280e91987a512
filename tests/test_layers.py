"""The layers of docs/architecture.md, read off the imports: pure, core, adapters, top; imports point up only.

A failure names the file and the line of the first offence.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sipsms"

PURE = {
    "model", "numbers", "text", "dialplan", "devices", "provisioning", "sip.uri", "sip.headers", "sip.message",
    "sip.digest", "sip.transaction", "sip.registrar", "sip.content", "sip.flood", "sip.guard", "sip.pidf",
    "sip.deadlines", "sip.presence", "sip.stun", "sip.hep", "sip.summary", "sip.form", "sip.proxy", "sip.flowtoken",
    "sip.uac", "notice", "addresses", "events", "mediatypes", "mail.mime", "optout", "policy", "reports",
    "originate", "kannel", "acrobits", "smpp.pdu",
    "smpp.session", "smpp.coding", "smpp.receipt", "smpp.submission", "smpp.doubts", "smpp.pacing", "smpp.texts",
    "smpp_url",
}  # fmt: skip
TOP = {
    "app",
    "cli",
    "cli.base",
    "cli.server",
    "cli.accounts",
    "cli.dids",
    "cli.blocks",
    "cli.looking",
    "cli.messages",
    "__main__",
    "manual",
    "demo",
    "softphone",
    "importing",
    "tracing",
    "handout",
    "beside",
    "couriers",
    "doors",
    "smpp_door",
    "demo_esme",
    "wiring",
    "office",
    "rest_office",
    "records",
    "inbox",
    "cli.tokens",
    "cli.more",
}
# The directory and the log are the core's; the configuration is read by whoever is built from it.
CORE = {
    "ports", "media", "gateway", "queue", "directory", "desk", "consent", "forwarding", "following", "access",
    "sending", "feed", "assembling",
}  # fmt: skip
ADAPTERS = {
    "sip.transport": "sip", "sip.endpoint": "sip", "sip.server": "sip", "sip.client": "sip", "sip.notifier": "sip",
    "sip.tls": "sip", "sip.connector": "sip", "sip.websocket": "sip", "sip.rules": "sip",
    "sip.relay": "sip", "sip.messages": "sip", "sip.trunk": "sip", "sip.uplink": "sip",
    "sip.trace": "sip", "smpp.connection": "smpp", "smpp.server": "smpp", "smpp.courier": "smpp", "smpp.client": "smpp",
    "smpp.carrier": "smpp", "smpp.link": "smpp", "smpp.bound": "smpp",
    "smpp.intake": "smpp", "smpp.enquiries": "smpp",
}  # fmt: skip
ADAPTER_PACKAGES = ("store", "web", "carriers", "mail")
NOT_PURE = {"asyncio", "time", "random", "secrets", "socket", "threading", "subprocess", "selectors"}
NOT_CORE = {"socket", "starlette", "uvicorn", "fastapi", "aiohttp", "sqlalchemy", "alembic", "redis", "subprocess"}
HOMES = {  # library -> where it may be imported
    "starlette": ("web",), "fastapi": ("web",), "uvicorn": ("web",), "aiohttp": ("carriers",), "redis": ("store",),
    "aiosmtplib": ("mail",), "sqlalchemy": ("store", "cli", "app", "handout", "office"),
    "alembic": ("store", "cli", "app"), "pjsua2": ("softphone",), "click": ("cli",), "rich_click": ("cli",),
}  # fmt: skip
PURE_MAY_READ = {("dialplan", "document")}  # `dialplan.load` reads YAML with the configuration's machinery


class Import(NamedTuple):
    module: str  # who imports, without `sipsms.`
    line: int
    target: str  # what, with `sipsms.`; `from os import urandom` is `os.urandom`

    def __str__(self) -> str:
        path = PACKAGE / (self.module.replace(".", "/") + ".py")
        path = path if path.exists() else PACKAGE / self.module.replace(".", "/") / "__init__.py"
        return f"{path.relative_to(ROOT)}:{self.line}: imports {self.target}"


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if "migrations" in parts:
            continue
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield name, ast.parse(path.read_text(), str(path))


def imports() -> Iterator[Import]:
    for name, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (Import(name, node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}:{node.lineno}: imports in this project are absolute"
                yield from (Import(name, node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def calls_urandom() -> Iterator[Import]:
    for name, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr == "urandom":
                yield Import(name, node.lineno, "os.urandom")


ALL = list(imports())
NAMES = {name for name, _ in modules()}


def own(target: str) -> str:
    """`sipsms.sip.uri.Uri` -> `sip.uri`; empty for what is not ours."""
    if target != "sipsms" and not target.startswith("sipsms."):
        return ""
    inner = target.removeprefix("sipsms").lstrip(".")
    while inner and inner not in NAMES:
        inner = inner.rpartition(".")[0]
    return inner


def library(target: str) -> str:
    return target.partition(".")[0]


def adapter(name: str) -> str:
    """The adapter package a module belongs to; empty for the rest."""
    first = name.partition(".")[0]
    return ADAPTERS.get(name) or (first if first in ADAPTER_PACKAGES else "")


def refuse(offences: list[Import], rule: str) -> None:
    if offences:
        pytest.fail(f"{offences[0]}: {rule} ({len(offences)} in all)", pytrace=False)


def test_every_module_has_a_layer() -> None:
    """A new module must be put into one, here."""
    helpers = {"config", "carrier_config", "values", "document", "listener", "log", "", "sip", "smpp"}
    known = PURE | TOP | CORE | helpers
    assert {name for name in NAMES if name not in known and not adapter(name)} == set()
    assert PURE | CORE | TOP <= NAMES, "a module named here is gone"


def test_pure_modules_have_no_clock_no_chance_and_no_sockets() -> None:
    offences = [one for one in ALL if one.module in PURE and library(one.target) in NOT_PURE | NOT_CORE]
    offences += [one for one in calls_urandom() if one.module in PURE]
    refuse(offences, "a pure module is given bytes and `now`")


def test_pure_modules_import_pure_modules_only() -> None:
    offences = [
        one
        for one in ALL
        if one.module in PURE and own(one.target) not in {"", "sip", *PURE}
        and (one.module, own(one.target)) not in PURE_MAY_READ
    ]  # fmt: skip
    refuse(offences, "imports point up only")


def test_the_core_knows_no_adapter_no_socket_and_no_framework() -> None:
    offences = [
        one
        for one in ALL
        if one.module in CORE
        and (
            adapter(own(one.target))
            or own(one.target) in TOP | {"config", "document"}
            or library(one.target) in NOT_CORE
        )
    ]
    refuse(offences, "gateway and queue know couriers and carriers by their Protocols only")


def test_adapters_do_not_know_each_other() -> None:
    offences = [
        one
        for one in ALL
        if adapter(one.module) and adapter(own(one.target)) and adapter(one.module) != adapter(own(one.target))
    ]
    refuse(offences, "adapter packages meet in app.py only")


def test_adapters_do_not_know_the_top() -> None:
    refuse([one for one in ALL if adapter(one.module) and own(one.target) in TOP], "imports point up only")


@pytest.mark.parametrize("name", HOMES)
def test_libraries_stay_in_their_place(name: str) -> None:
    homes = HOMES[name]
    offences = [one for one in ALL if library(one.target) == name and one.module.partition(".")[0] not in homes]
    refuse(offences, f"{name} belongs in {', '.join(homes)}")


@pytest.mark.req("A-06")
def test_no_shell_and_no_pickle() -> None:
    """Text of strangers reaches no other program and no unpickler."""
    offences = [one for one in ALL if library(one.target) in ("pickle", "shelve", "marshal")]
    offences += [one for one in ALL if library(one.target) == "subprocess" and one.module != "demo"]
    refuse(offences, "not in a server")


def test_the_checker_sees_offences(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names file and line."""
    bad = Import("gateway", 7, "sipsms.store.sql.Store")
    monkeypatch.setitem(globals(), "ALL", [*ALL, bad])
    with pytest.raises(pytest.fail.Exception, match=r"sipsms/gateway.py:7: imports sipsms.store.sql.Store"):
        test_the_core_knows_no_adapter_no_socket_and_no_framework()
