"""Other people's SMSCs, and one that does what a test says, with a real server bound to them as a carrier."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.http.v1 import HANDSET, ApiNode
from tests.support.node.certificates import Authority
from tests.support.smpp.records import Came, Missing
from tests.support.smpp.smsc import Answer, Receipt, Smsc

try:
    from tests.support.smpp.node_smpp import NodeSmsc
    from tests.support.smpp.smpp34_smsc import Smpp34Smsc
except Missing as why:
    pytest.skip(str(why), allow_module_level=True)

DID, PHONE = "15550001111", "1" + HANDSET  # as the SMSC is to see them
GSM, EMOJI = "voilà: é € {ok}", "Grüße 😀 €"
LONG, LONG_EMOJI = "Long é€ text. " * 30, "Ünïcödé 😀 ж " * 20
TEXTS = {"gsm": GSM, "emoji": EMOJI, "long": LONG.strip(), "long emoji": LONG_EMOJI.strip()}
THROTTLED, QUEUE_FULL, SUBMIT_FAILED = 0x58, 0x14, 0x45
_NUMBERS = itertools.count(1)


class Lab:
    """A server whose only carrier is this SMSC."""

    def __init__(self, node: ApiNode, smsc: Any) -> None:
        self.node, self.smsc = node, smsc

    def send(self, text: str, to: str = HANDSET) -> int:
        reply = self.node.send(text, to=to)
        assert reply.status == 202, reply
        return int(reply.json["id"])

    def state(self, id: int) -> str:
        return str(self.node.get(f"/messages/{id}", "anna").json["state"])

    def settles(self, id: int, state: str, seconds: float = 20.0) -> None:
        self.wait(lambda: self.state(id) == state, lambda: f"{self.state(id)}, not {state}", seconds)

    def came_in(self, text: str) -> list[dict[str, Any]]:
        rows = self.node.get("/messages?direction=in&limit=100", "anna").json["items"]
        return [row for row in rows if row["text"] == text]

    def wait(self, what: Callable[[], Any], why: Callable[[], str], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            if time.monotonic() > deadline:
                raise AssertionError(f"{why()} after {seconds:g} s\n{self.node.log_tail(12)}")
            time.sleep(0.03)

    def times(self, text: str) -> int:
        """How often the SMSC has taken it, whole, by its ledger."""
        found: Counter[Came] = self.smsc.ledger()
        return found[Came(DID, PHONE, text)]

    def takes(self, text: str) -> int:
        """How often, once its ledger has the text: a receipt may be quicker."""
        self.wait(lambda: self.times(text), lambda: f"{text!r} is not in the ledger")
        return self.times(text)


def lab_with(smsc: Any, folder: Path, **carrier: Any) -> ApiNode:
    return ApiNode(
        folder,
        carriers={"smsc": {"type": "smpp", "url": smsc.url, "binds": 2, "window": 10, **carrier}},
        queue={"retry_min": "200ms", "retry_max": "1s"},
        messages={"max_length": 1600},
    )


def fresh(text: str) -> str:
    """No other test's."""
    return f"{next(_NUMBERS)}: {text}"


# --- all of them ---


@pytest.fixture(scope="module", params=["node", "node by TLS", "smpp34", "by hand"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder, authority = tmp_path_factory.mktemp("smsc"), Authority()
    makers: dict[str, Callable[[], Any]] = {
        "node": NodeSmsc,
        "node by TLS": lambda: NodeSmsc(certificate=authority.issue(folder)),
        "smpp34": Smpp34Smsc,
        "by hand": Smsc,
    }
    try:
        made = makers[request.param]()
    except Missing as why:
        pytest.skip(str(why))
    with made as smsc:
        if isinstance(smsc, NodeSmsc):
            smsc.default(receipts=[{}])
        elif isinstance(smsc, Smsc):
            smsc.default = Answer(receipts=(Receipt(),))
        trust = {"ca": str(authority.write(folder / "ca.pem"))} if "TLS" in request.param else {}
        with lab_with(smsc, folder / "node", **trust) as node:
            yield Lab(node, smsc)


def refuse(smsc: Any, status: int) -> None:
    """The next message."""
    orders: dict[type, Any] = {NodeSmsc: {"status": status}, Smsc: Answer(status=status), Smpp34Smsc: status}
    smsc.script(orders[type(smsc)])


@pytest.mark.req("S-078", "P-11", "P-13", "P-15")
@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_goes_out_whole_and_its_receipt_comes_back(lab: Lab, kind: str) -> None:
    text = fresh(TEXTS[kind])
    lab.settles(lab.send(text), "delivered")
    assert lab.takes(text) == 1


@pytest.mark.req("S-078", "P-13", "P-15")
@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_comes_in_whole_and_once(lab: Lab, kind: str) -> None:
    text = fresh(TEXTS[kind])
    lab.smsc.mo(PHONE, DID, text)
    lab.wait(lambda: lab.came_in(text), lambda: f"{text!r} has not come")
    (row,) = lab.came_in(text)
    assert row["from"].endswith(HANDSET)


@pytest.mark.req("P-09")
@pytest.mark.parametrize("status", [THROTTLED, QUEUE_FULL])
def test_a_busy_smsc_is_asked_again(lab: Lab, status: int) -> None:
    text = fresh("busy now")
    refuse(lab.smsc, status)
    lab.settles(lab.send(text), "delivered")
    assert lab.takes(text) == 1


@pytest.mark.req("P-09")
def test_what_it_refuses_has_failed(lab: Lab) -> None:
    text = fresh("not this one")
    refuse(lab.smsc, SUBMIT_FAILED)
    lab.settles(lab.send(text), "failed")
    after = fresh("but this one")
    lab.settles(lab.send(after), "delivered")
    assert (lab.takes(after), lab.times(text)) == (1, 0)


# --- receipts of all kinds ---


@pytest.fixture
def smsc() -> Iterator[Smsc]:
    with Smsc() as smsc:
        smsc.default = Answer(receipts=(Receipt(),))
        yield smsc


@pytest.fixture
def mine(smsc: Smsc, tmp_path: Path) -> Iterator[Lab]:
    with lab_with(smsc, tmp_path / "node", response_timeout="3s") as node:
        smsc.binds.count(2)
        yield Lab(node, smsc)


@pytest.mark.req("P-11", "P-12")
def test_receipts_of_all_kinds(mine: Lab, smsc: Smsc) -> None:
    kinds = [
        Receipt(form="text"), Receipt(form="tlv"), Receipt(before=True), Receipt(times=2), Receipt(id="hex"),
        Receipt(before=True, form="tlv", id="hex"),
    ]  # fmt: skip
    for receipt in kinds:
        smsc.script(Answer(receipts=(receipt,)))
        text = fresh(repr(receipt))
        mine.settles(mine.send(text), "delivered")
        assert mine.times(text) == 1
    smsc.script(Answer(receipts=(Receipt(state="UNDELIV", error="027"),)))
    mine.settles(mine.send(fresh("nobody there")), "failed")


@pytest.mark.req("P-11")
def test_hexadecimal_in_the_answer_and_decimal_in_the_receipt(mine: Lab, smsc: Smsc) -> None:
    for form in ("{:x}", "{:X}", "{:08X}"):
        smsc.ids = form.format
        smsc.script(Answer(receipts=(Receipt(id="decimal"),)))
        mine.settles(mine.send(fresh(form)), "delivered", 5)


# --- trouble ---


@pytest.mark.req("F-14", "P-10")
def test_taken_but_never_answered_is_not_sent_again(mine: Lab, smsc: Smsc) -> None:
    """The connection breaks after the SMSC has read it; the receipt comes with the next bind."""
    text = fresh("taken, not answered")
    smsc.script(Answer(cut=True, receipts=(Receipt(),)))
    id = mine.send(text)
    smsc.binds.count(3)
    mine.settles(id, "delivered", 60)  # the receipt waits for it to be looked up
    assert mine.times(text) == 1


@pytest.mark.req("F-15", "P-10")
def test_an_answer_that_never_comes(mine: Lab, smsc: Smsc) -> None:
    text = fresh("silence")
    smsc.script(Answer(silent=True))
    mine.settles(mine.send(text), "unknown")
    other = fresh("to somebody else")
    mine.settles(mine.send(other, to="4445557777"), "delivered")
    assert mine.times(text) == 1


@pytest.mark.req("P-10", "P-17")
def test_an_smsc_that_dies_and_comes_back(mine: Lab, smsc: Smsc) -> None:
    smsc.kill()
    texts = [fresh("while it was down") for _ in range(5)]
    sent = [mine.send(text) for text in texts]
    smsc.start()
    for id in sent:
        mine.settles(id, "delivered")
    assert [one.text for one in smsc.taken] == texts  # in order: they are for one recipient
    smsc.unbind()
    later = fresh("after it said unbind")
    mine.settles(mine.send(later), "delivered")
    assert mine.times(later) == 1


@pytest.mark.req("P-08")
def test_no_more_than_the_window_is_under_way(mine: Lab, smsc: Smsc) -> None:
    smsc.default = Answer(after=0.2, receipts=(Receipt(),))
    sent = [mine.send(fresh("window"), to=f"44455{n:05d}") for n in range(60)]
    for id in sent:
        mine.settles(id, "delivered")
    assert 1 < smsc.most_open <= 10
    assert len(smsc.taken) == 60
    assert set(mine.smsc.ledger().values()) == {1}
