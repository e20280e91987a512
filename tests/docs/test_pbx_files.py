"""The drop-in files of PBXs that do not run in the tests: well-formed, complete, and in step with each other."""

from __future__ import annotations

import re
import shlex
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click import Context

from sipsms.cli import cli
from tests.support.node.server import Node

DIALPLAN = Path(__file__).parents[2] / "dialplan"
FREESWITCH, FREEPBX, ASTERISK = (DIALPLAN / name for name in ("freeswitch", "freepbx", "asterisk"))
_WORD = re.compile(r"\b(?:SIPSMS|PBX|PHONE)_[A-Z0-9_]+\b")
_APPLICATIONS = {"reply", "send", "set", "stop", "info", "fire", "unset", "system"}  # of mod_sms


@pytest.mark.parametrize("file", sorted(FREESWITCH.rglob("*.xml")), ids=lambda file: file.name)
def test_freeswitch_xml_is_well_formed(file: Path) -> None:
    assert ET.parse(file).getroot().tag == "include"


def test_freeswitch_gateway_has_what_registering_takes() -> None:
    (gateway,) = ET.parse(FREESWITCH / "sip_profiles/external/sipsms.xml").getroot()
    params = {param.attrib["name"]: param.attrib["value"] for param in gateway}
    assert len(params) == len(gateway), "a parameter twice"
    assert params["register"] == "true"
    assert {"username", "password", "realm", "proxy", "extension"} <= set(params)


def test_freeswitch_chatplan_uses_what_mod_sms_has() -> None:
    (context,) = ET.parse(FREESWITCH / "chatplan/sipsms.xml").getroot()
    assert context.attrib["name"] == "public"
    for extension in context:
        *_, last = extension
        actions = [(one.attrib["application"], one.attrib.get("data", "")) for one in last]
        assert {name for name, _ in actions} <= _APPLICATIONS
        assert actions[-1][0] == "stop", f"{extension.attrib['name']}: the next extension would take it too"
        for condition in extension:
            re.compile(condition.attrib["expression"])


def test_freeswitch_lets_nobody_from_outside_reach_the_way_out() -> None:
    """The first match decides: what stops everything from outside stands before what sends."""
    (context,) = ET.parse(FREESWITCH / "chatplan/sipsms.xml").getroot()
    names = [extension.attrib["name"] for extension in context]
    assert names.index("sms-in-unknown") < names.index("sms-out-101")


def test_freeswitch_readme_names_every_word_to_fill_in() -> None:
    files = "".join(file.read_text() for file in FREESWITCH.rglob("*.xml"))
    assert set(_WORD.findall(files)) == set(_WORD.findall((FREESWITCH / "README.md").read_text()))


def test_freepbx_sets_the_globals_of_the_contexts() -> None:
    """The contexts are Asterisk's own, which the interoperability tests run; the globals must fit them."""
    contexts = (ASTERISK / "extensions.conf").read_text()
    head, _, contexts = contexts.partition("[sms-from-sipsms]")
    in_asterisk = set(re.findall(r"^(SMS_\w+)=", head, re.M))
    in_freepbx = set(re.findall(r"^(SMS_\w+)=", (FREEPBX / "globals_custom.conf").read_text(), re.M))
    assert in_freepbx == in_asterisk
    fixed = set(re.findall(r"\$\{(SMS_[A-Z_]+)\}", contexts))
    assert fixed <= in_freepbx
    wanted = set(re.findall(r"^message_context=(\S+)", (FREEPBX / "pjsip.endpoint_custom_post.conf").read_text(), re.M))
    assert wanted <= set(re.findall(r"^\[([\w-]+)\]", "[sms-from-sipsms]" + contexts, re.M))


def test_freepbx_readme_takes_the_contexts_and_not_the_globals() -> None:
    assert "sed -n '/^\\[sms-from-sipsms\\]/,$p' extensions.conf" in (FREEPBX / "README.md").read_text()


def test_links_of_the_pages_lead_to_existing_files() -> None:
    for page in DIALPLAN.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page}: {target}"


PAGES = [*sorted(DIALPLAN.rglob("*.md")), *(DIALPLAN.parent / "docs" / name for name in ("pbx.md", "phones.md"))]


def _commands(page: Path) -> list[list[str]]:
    """The lines of the page's blocks that start with `sipsms`, without comments."""
    blocks = re.findall(r"^ *```\n(.*?)^ *```", page.read_text(), re.S | re.M)
    lines = [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("sipsms ")]


@pytest.mark.parametrize("page", [page for page in PAGES if _commands(page)], ids=lambda page: str(page.parent.name))
def test_the_commands_of_the_pages_run(page: Path, tmp_path: Path) -> None:
    """From top to bottom, on a store of their own."""
    node = Node(tmp_path)
    for words in _commands(page):
        node.cli(*words)
    assert node.listed("did", "list")


def test_commands_named_in_running_text_exist() -> None:
    for page in PAGES:
        for word in re.findall(r"`sipsms (?:-c \S+ )?([a-z][a-z-]*)", page.read_text()):
            assert word in cli.list_commands(Context(cli)), f"{page.name}: sipsms {word}"
