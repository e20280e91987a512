"""Numbering and routing rules, and the files they come from."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsms.core.account import Did
from sipsms.core.message import Direction
from sipsms.core.refusal import Refusal, RefusalCode
from sipsms.core.yaml_file import ConfigError
from sipsms.routing import numbering, rules_file
from sipsms.routing.dialplan import Dialplan, Facts
from sipsms.routing.numbering import Mode, Numbering

SHIPPED = Path(__file__).parents[2] / "dialplan"
C = RefusalCode
DEFAULT_NUMBERING = rules_file.load(None, []).numbering

# --- numbering -------------------------------------------------------------------------------------------------------

GOOD = ["5551234567", "2125551234", "4165551234", "7875551234", "9075551234", "8085551234", "8005551234", "8885551234"]

REFUSED = {
    "15551234567": C.LEADING_ONE,
    "155512345678": C.LEADING_ONE,
    "+15551234567": C.NOT_DIGITS,
    "555-123-4567": C.NOT_DIGITS,
    "abc": C.NOT_DIGITS,
    "": C.NOT_DIGITS,
    "٥٥٥١٢٣٤٥٦٧": C.NOT_DIGITS,
    "５５５１２３４５６７": C.NOT_DIGITS,
    "5551234567\r\nX: y": C.NOT_DIGITS,
    "5551234567 ": C.NOT_DIGITS,
    "555123456": C.TOO_FEW_DIGITS,
    "55512345678": C.TOO_MANY_DIGITS,
    "62966": C.TOO_FEW_DIGITS,
    "999": C.TOO_FEW_DIGITS,
    "1": C.TOO_FEW_DIGITS,
    "011442079460000": C.TOO_MANY_DIGITS,
    "911": C.SERVICE,
    "988": C.SERVICE,
    "411": C.SERVICE,
    "211": C.SERVICE,
    "9115551234": C.SERVICE,
    "9005551234": C.PREMIUM,
    "2129761234": C.PREMIUM,
    "2425551234": C.REGION,
    "8765551234": C.REGION,
    "3405551234": C.REGION,
    "0551234567": C.INVALID,
    "1551234567": C.INVALID,
}


@pytest.mark.req("S-010", "S-088", "C-8", "C-9", "C-100")
@pytest.mark.parametrize("raw", GOOD)
def test_valid_destinations_are_accepted(raw: str) -> None:
    assert DEFAULT_NUMBERING.check(raw) == raw


@pytest.mark.req("S-010", "S-088", "C-8", "C-9", "C-100", "C-103", "A-04")
@pytest.mark.parametrize(("raw", "code"), REFUSED.items())
def test_invalid_destinations_are_refused_with_a_code(raw: str, code: RefusalCode) -> None:
    refusal = DEFAULT_NUMBERING.check(raw)
    assert isinstance(refusal, Refusal)
    assert refusal.code is code


REASONS = {
    "15551234567": "destination must be exactly 10 digits; 15551234567 starts with 1: leave it out",
    "+15551234567": "destination must be exactly 10 digits; +15551234567 has other characters than the digits 0-9",
    "": "destination must be exactly 10 digits; it is empty",
    "555123456": "destination must be exactly 10 digits; 555123456 has 9",
    "911": "911 is an emergency or service number: call it, a text cannot",
    "9005551234": "9005551234 is a premium-rate number, which takes no texts from here",
    "2425551234": "area code 242 is in the Bahamas; texts go to the United States and Canada"
    " unless the operator allows BS",
    'a"b\\c\r\nd': "destination must be exactly 10 digits; a?b?c??d has other characters than the digits 0-9",
}


@pytest.mark.parametrize(("raw", "reason"), REASONS.items())
def test_a_refusal_names_the_reason(raw: str, reason: str) -> None:
    refusal = DEFAULT_NUMBERING.check(raw)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == reason


@pytest.mark.req("S-088", "A-31")
@given(st.text(max_size=60))
def test_any_text_gets_a_number_or_a_reason_in_printable_ascii(raw: str) -> None:
    answer = DEFAULT_NUMBERING.check(raw)
    if isinstance(answer, str):
        assert answer == raw
        assert len(answer) == 10
        return
    assert answer.reason.isascii()
    assert answer.reason.isprintable()
    assert not {'"', "\\"} & set(answer.reason)
    assert len(answer.reason) < 200


E164 = {
    "+15551234567": "5551234567",
    "5551234567": C.INVALID,
    "15551234567": C.INVALID,
    "+1555123456": C.TOO_FEW_DIGITS,
    "+155512345678": C.TOO_MANY_DIGITS,
    "+442079460000": C.NOT_DIGITS,
    "+12425551234": C.REGION,
    "911": C.SERVICE,
    "+1911": C.SERVICE,
    "+1 5551234567": C.NOT_DIGITS,
}


@pytest.mark.req("C-8")
@pytest.mark.parametrize(("raw", "expected"), E164.items())
def test_the_e164_mode_accepts_numbers_of_other_countries(raw: str, expected: str) -> None:
    answer = Numbering(mode="e164", service=DEFAULT_NUMBERING.service).check(raw)
    assert (answer.code if isinstance(answer, Refusal) else answer) == expected


ANY = {
    "5551234567": "5551234567",
    "15551234567": "5551234567",
    "+15551234567": "5551234567",
    "+1 (555) 123-4567": "5551234567",
    "1-555-123-4567": "5551234567",
    "555.123.4567": "5551234567",
    "+442079460000": C.INVALID,
    "442079460000": C.TOO_MANY_DIGITS,
    "011442079460000": C.TOO_MANY_DIGITS,
    "+15551234567\r\nX: y": C.NOT_DIGITS,
    "\uff15551234567": C.NOT_DIGITS,
    "++15551234567": C.NOT_DIGITS,
    "5551234567+": C.NOT_DIGITS,
    "+1": C.NOT_DIGITS,
    "": C.NOT_DIGITS,
    "alice": C.NOT_DIGITS,
    "1555123456": C.INVALID,
    "+1555123456": C.TOO_FEW_DIGITS,
    "115551234567": C.LEADING_ONE,
    "911": C.SERVICE,
    "+1911": C.SERVICE,
    "+19005551234": C.PREMIUM,
    "12425551234": C.REGION,
    "-" * 60 + "5551234567": C.NOT_DIGITS,
}


@pytest.mark.parametrize(("raw", "expected"), ANY.items())
def test_the_mode_any_takes_all_forms_of_a_number(raw: str, expected: str) -> None:
    answer = Numbering(mode="any", service=DEFAULT_NUMBERING.service).check(raw)
    assert (answer.code if isinstance(answer, Refusal) else answer) == expected


@pytest.mark.parametrize(
    ("mode", "raw", "number"),
    [
        ("nanpa", "5551234567", "5551234567"), ("nanpa", "+15551234567", ""), ("nanpa", "15551234567", ""),
        ("e164", "+15551234567", "5551234567"), ("e164", "5551234567", "5551234567"), ("e164", "15551234567", ""),
        ("any", "+15551234567", "5551234567"), ("any", "15551234567", "5551234567"), ("any", "alice", ""),
    ],
)  # fmt: skip
def test_a_sender_may_be_written_as_the_mode_has_it(mode: Mode, raw: str, number: str) -> None:
    assert Numbering(mode=mode).sender(raw) == number


def test_the_file_sets_the_mode(tmp_path: Path) -> None:
    (tmp_path / "numbering.yaml").write_text("mode: any\n")
    assert rules_file.load(tmp_path, []).numbering.check("+1 555 123 4567") == "5551234567"


def test_a_pattern_is_expanded_to_its_codes() -> None:
    assert list(numbering.expand("N11")) == ["211", "311", "411", "511", "611", "711", "811", "911"]
    assert len(set(numbering.expand("NXX"))) == 800


# --- routing ---------------------------------------------------------------------------------------------------------


def out(destination: str = "5551234567", account: str = "alice", did: str = "4165550000", kind: str = "sms") -> Facts:
    return Facts(Direction.OUT, account, did, did, destination, kind)


def write(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        (directory / f"{name}.yaml").write_text(dedent(text), "utf-8")
    return directory


ROUTING = """\
rules:
  - name: vip
    match: {account: [alice, bob], destination: ["416", 647]}
    carriers: [b]
  - match:
      did: 5145550000
      kind: mms
    carriers: [b, a]
  - name: rest
    match: {direction: out}
    carriers: all
"""


@pytest.fixture
def plan(tmp_path: Path) -> Dialplan:
    return rules_file.load(write(tmp_path, routing=ROUTING), ["a", "b", "c"])


CHOICES = [
    (out("4165551234"), ["b"]),
    (out("6475551234", account="bob"), ["b"]),
    (out("4165551234", account="carol"), ["a", "b", "c"]),
    (out("2125551234"), ["a", "b", "c"]),
    (out(did="5145550000", kind="mms"), ["b", "a"]),
    (out(did="5145550000"), ["a", "b", "c"]),
]


@pytest.mark.parametrize(("facts", "carriers"), CHOICES)
def test_the_first_rule_that_matches_decides(plan: Dialplan, facts: Facts, carriers: list[str]) -> None:
    decision = plan.outgoing(facts)
    assert decision.refusal is None
    assert [r.courier for r in decision.routes] == [f"carrier:{name}" for name in carriers]
    assert {(r.destination, r.source) for r in decision.routes} == {(facts.destination, facts.source)}


def test_the_trace_names_each_rule_and_its_result(plan: Dialplan) -> None:
    decision = plan.outgoing(out("2125551234"))
    assert decision.trace == (
        "numbering: ok",
        "routing.yaml:2 (vip): no, destination does not start with 416 or 647",
        "routing.yaml:5: no, DID does not start with 5145550000",
        "routing.yaml:9 (rest): matches, carriers a, b, c",
    )
    assert decision.routes[0].why == decision.trace[-1]


@pytest.mark.req("C-9", "A-04")
@pytest.mark.parametrize("destination", ["9005551234", "2425551234", "911", "+442079460000", "", "15551234567"])
def test_routing_refuses_destinations_that_numbering_refuses(plan: Dialplan, destination: str) -> None:
    decision = plan.outgoing(out(destination))
    assert decision.routes == ()
    assert decision.refusal is not None
    assert decision.refusal.reason in decision.trace[-1]


def test_a_message_that_no_rule_matches_is_refused(tmp_path: Path) -> None:
    text = "rules: [{match: {account: zoe}, carriers: all}]"
    decision = rules_file.load(write(tmp_path, routing=text), ["a"]).outgoing(out())
    assert decision.refusal == Refusal(C.NO_ROUTE, "no rule of the dialplan matches")
    assert decision.trace[1] == "routing.yaml:1: no, account is not zoe"


def test_without_a_carrier_every_message_is_refused() -> None:
    decision = rules_file.load(None, []).outgoing(out())
    assert decision.refusal == Refusal(C.NO_ROUTE, "no carrier is configured")


INCOMING = Facts(Direction.IN, "alice", "4165550000", "5551234567", "4165550000")


def test_an_incoming_message_goes_to_the_account_of_the_did(plan: Dialplan) -> None:
    (route,) = plan.incoming(INCOMING, Did("4165550000", "alice", "alice_desk")).routes
    assert (route.courier, route.destination, route.source) == ("sip", "alice_desk", "5551234567")


@pytest.mark.parametrize("did", [Did("4165550000", "alice"), Did("4165550000", "alice", "desk", sms=False)])
def test_an_incoming_message_to_a_did_without_destination_is_kept(plan: Dialplan, did: Did) -> None:
    decision = plan.incoming(INCOMING, did)
    assert (decision.routes, decision.refusal) == ((), None)
    assert "kept" in decision.trace[0]


def test_an_incoming_message_to_an_unknown_number_is_refused(plan: Dialplan) -> None:
    decision = plan.incoming(INCOMING, None)
    assert decision.refusal == Refusal(C.NO_ROUTE, "4165550000 is not one of our numbers")


# --- the files -------------------------------------------------------------------------------------------------------


def test_the_shipped_files_contain_the_built_in_rules(tmp_path: Path) -> None:
    shipped, nothing, empty = (rules_file.load(d, ["x", "y"]) for d in (SHIPPED, None, tmp_path))
    assert shipped.numbering == nothing.numbering == empty.numbering == DEFAULT_NUMBERING
    couriers = [[r.courier for r in plan.outgoing(out()).routes] for plan in (shipped, nothing, empty)]
    assert couriers == [["carrier:x", "carrier:y"]] * 3


@pytest.mark.req("S-135")
def test_the_example_with_three_carriers_keeps_their_order(tmp_path: Path) -> None:
    text = (SHIPPED / "examples" / "curl-gsm-provider.yaml").read_text("utf-8")
    line = 1 + text[: text.index("  - name: everything")].count("\n")
    decision = rules_file.load(write(tmp_path, routing=text), ["provider", "gsm", "curl"]).outgoing(out())
    assert [r.courier for r in decision.routes] == ["carrier:curl", "carrier:gsm", "carrier:provider"]
    assert decision.trace[-1] == f"routing.yaml:{line} (everything): matches, carriers curl, gsm, provider"
    assert "examples/curl-gsm-provider.yaml" in (SHIPPED / "routing.yaml").read_text("utf-8")


def test_the_numbering_file_replaces_the_built_in_lists(tmp_path: Path) -> None:
    text = """\
        allow_regions: [BS]
        premium_area_codes: [900, 809]
        premium_exchanges: []
        service_codes: ["911"]
        """
    numbering = rules_file.load(write(tmp_path, numbering=text), []).numbering
    assert numbering.check("2425551234") == "2425551234"
    assert numbering.check("2129761234") == "2129761234"
    assert isinstance(numbering.check("8095551234"), Refusal)
    four11 = numbering.check("411")
    assert isinstance(four11, Refusal)
    assert four11.code is C.TOO_FEW_DIGITS


WRONG = [
    ("routing", ROUTING.replace("[b, a]", "[b, z]"), ":8: rules[1].carriers[1]: no carrier 'z'; configured are a, b"),
    ("routing", "rules:\n  - carrier: [a]\n    carriers: [a]\n",
     ":2: rules[0].carrier: unknown key; did you mean `carriers`?"),
    ("routing", "rules:\n  - name: x\n", ":2: rules[0].carriers: is required"),
    ("routing", "rules:\n  - carriers: []\n", ":2: rules[0].carriers: expected `all` or a list of carriers"),
    ("routing", "rules:\n  - carriers: all\n    match: {destination: [+1416]}\n",
     ":3: rules[0].match.destination[0]: expected up to 10 digits without a leading 1, got '1416'"),
    ("routing", "rules:\n  - carriers: all\n    match: {direction: in}\n",
     ":3: rules[0].match.direction: expected 'out', got 'in'"),
    ("routing", "rules:\n  - carriers: all\n    match: {acount: a}\n",
     ":3: rules[0].match.acount: unknown key; did you mean `account`?"),
    ("numbering", "mode: nanp\n", ":1: mode: expected 'nanpa', 'e164' or 'any', got 'nanp'"),
    ("numbering", "\nallow_regions: [FR]\n", ":2: allow_regions[0]: expected one of AG AI AS"),
    ("numbering", "service_codes: [11]\n",
     ":1: service_codes[0]: expected three digits (N: 2-9, X: 0-9), got '11'"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "expected"), WRONG)
def test_errors_name_file_line_and_key(tmp_path: Path, name: str, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rules_file.load(write(tmp_path, **{name: text}), ["a", "b"])
    assert len(caught.value.errors) == 1
    assert caught.value.errors[0].startswith(f"{tmp_path}/{name}.yaml{expected}")


@pytest.mark.parametrize(
    ("written", "meant"), [("off", "off"), ("'off'", "off"), ("relay", "relay"), ("store", "store")]
)
def test_the_mode_internal_is_read_with_and_without_quotes(tmp_path: Path, written: str, meant: str) -> None:
    """`off` without quotes is false to YAML, and means off all the same."""
    (tmp_path / "routing.yaml").write_text(f"internal: {written}\n")
    assert rules_file.load(tmp_path, []).internal == meant
