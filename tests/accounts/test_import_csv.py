"""CSV files of `sipsms import`, as spreadsheets write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipsms.accounts import import_file
from sipsms.accounts.import_csv import parse
from sipsms.core.yaml_file import ConfigError

GOOD = """name,customer,password,caller_id,dids
acme,,s3cret,5550001111,5550002222
desk,acme,pw,5550001111,5550001111 5550003333
bert,,"a, b","+1 (555) 000-4444",
"""
TREE = {
    "accounts": [
        {
            "name": "acme", "password": "s3cret", "caller_id": "5550001111",
            "subaccounts": [{"name": "desk", "password": "pw", "caller_id": "5550001111"}],
            "dids": [{"number": "5550002222", "sip_account": "acme"}, {"number": "5550001111", "sip_account": "desk"},
                     {"number": "5550003333", "sip_account": "desk"}],
        },
        {"name": "bert", "password": "a, b", "caller_id": "+1 (555) 000-4444", "subaccounts": [], "dids": []},
    ]
}  # fmt: skip


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_row_is_an_account_with_its_numbers(mark: str, end: str) -> None:
    assert parse(Path("a.csv"), mark + GOOD.replace("\n", end)).data == TREE


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_of_spreadsheets_are_read(delimiter: str) -> None:
    text = GOOD.replace('"a, b"', "a b").replace(",", delimiter)
    assert [one["name"] for one in parse(Path("a.csv"), text).data["accounts"]] == ["acme", "bert"]


def test_a_subaccount_may_stand_before_its_customer_and_columns_in_any_order() -> None:
    found = parse(Path("a.csv"), "Customer,Name\nacme,desk\n,acme\n,\n").data
    assert found == {"accounts": [{"name": "acme", "subaccounts": [{"name": "desk"}], "dids": []}]}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "a.csv:1: expected a row of column names"),
        ("name,colour\nacme,red\n", "a.csv:1: expected a row of column names"),
        ("name,name\nacme,x\n", "a.csv:1: expected a row of column names"),
        ("acme,,pw\n", "a.csv:1: expected a row of column names"),
        ("name,customer\ndesk,acme\n", "a.csv:2: customer 'acme' has no row of its own"),
        ("name\nacme,pw\n", "a.csv:2: 2 values, but there are 1 columns"),
        ('name\n"acme\n', "a.csv:2: unexpected end of data"),
    ],
)
def test_an_error_has_its_line(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(Path("a.csv"), text)
    assert caught.value.errors[0].startswith(error)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("a/b,,pw,,", ":3: accounts[1].name"), ("x,,pw,12,", ":3: accounts[1].caller_id"),
        ("x,,pw,,5.55E+09", ":3: accounts[1].dids[0]"), ("x,,pw,,5550001111", "5550001111 stands there twice"),
        ("acme,,pw,,", "acme stands there twice"), (",,pw,,", ":3: accounts[1].name: is required"),
    ],
)  # fmt: skip
def test_values_are_checked_as_those_of_a_yaml_file(tmp_path: Path, row: str, words: str) -> None:
    file = tmp_path / "accounts.csv"
    file.write_text(f"name,customer,password,caller_id,dids\nacme,,pw,,5550001111\n{row}\n")
    with pytest.raises(ConfigError) as caught:
        import_file.read(file, "realm")
    assert words in caught.value.errors[0]
    assert caught.value.errors[0].startswith(f"{file}:3")
