"""Syntax errors of YAML files: the line and the key where what is wrong begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipsms.core.yaml_file import ConfigError, Document

ERRORS = {
    "a: 1\nlisten:\n  sip: [x, y\n  http: z\n": "3: sip: the bracket [ is not closed, or a comma is missing in it",
    "a: 1\nlisten:\n  sip: [x, y\n": "3: sip: the bracket [ is not closed, or a comma is missing in it",
    "carriers:\n  sim: {type: loopback\n\nb: 2\n": "2: sim: the bracket { is not closed, or a comma is missing in it",
    "carriers:\n  - {a: 1\n": "2: the bracket { is not closed, or a comma is missing in it",
    'a: 1\npassword: "abc\nb: 2\n': "2: password: the quote is not closed",
    "a:\n\tb: 1\n": "2: b: a tab: YAML is indented with spaces",
    "a: x\n\tb: 1\n": "2: b: a tab: YAML is indented with spaces",
    "a:\n  b: 1\n \tc: 2\n": "3: c: a tab: YAML is indented with spaces",
    "a:\n  - 1\n\t- 2\n": "3: a tab: YAML is indented with spaces",
}


@pytest.mark.parametrize(("text", "error"), ERRORS.items())
def test_a_syntax_error_names_the_line_and_the_key(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Document.parse(Path("sipsms.yaml"), text)
    assert caught.value.errors == (f"sipsms.yaml:{error}",)


def test_a_tab_behind_a_key_is_no_error() -> None:
    assert Document.parse(Path("x.yaml"), "a:\t1\n").data == {"a": 1}
