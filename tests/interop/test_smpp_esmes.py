"""Other people's ESMEs bound to a real server: Kannel, node-smpp, smpplib, aiosmpplib, smpp34; plain and by TLS."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e.site import HANDSET, Site

from tests.support.node.server import free_port
from tests.support.smpp.records import Came, Missing, Refused

try:
    from tests.support.smpp.kannel import Kannel
    from tests.support.smpp.libraries import AioEsme, Smpp34Esme, SmpplibEsme
    from tests.support.smpp.node_smpp import NodeEsme
except Missing as why:
    pytest.skip(str(why), allow_module_level=True)

PHONE = "1" + HANDSET  # as these libraries write it: international, without the +
GSM, EMOJI = "voilà: é € {ok}", "Grüße 😀 €"
LONG, LONG_EMOJI = "Long é€ text. " * 30, "Ünïcödé 😀 ж " * 20
TEXTS = pytest.mark.parametrize(
    "text", [GSM, EMOJI, LONG.strip(), LONG_EMOJI.strip()], ids=["gsm", "emoji", "long", "long emoji"]
)


@dataclass(frozen=True)
class Customer:
    did: str
    user: str
    password: str

    @property
    def number(self) -> str:
        """The DID as these libraries write it."""
        return "1" + self.did


class SmppSite(Site):
    """With SMPP, plain and by TLS."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.smpp_port, self.ssmpp_port = free_port(), free_port()
        super().__init__(folder, **settings)

    def write_config(self, **settings: Any) -> None:
        super().write_config(**settings)  # fills self.settings
        listen = {name: value for name, value in self.settings["listen"].items() if name != "smpp"}
        smpp = [f"smpp://127.0.0.1:{self.smpp_port}"]
        if self.certificate is not None:
            smpp.append(f"ssmpp://127.0.0.1:{self.ssmpp_port}")
        super().write_config(**{**self.settings, "listen": {**listen, "smpp": smpp}})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmppSite]:
    charsets = {"1": "gsm"}  # as node-smpp needs it
    with SmppSite(tmp_path_factory.mktemp("site"), accounts=120, smpp={"charsets": charsets}) as site:
        yield site
        site.no_crash()


@pytest.fixture
def customer(site: SmppSite) -> Customer:
    account = site.account()
    found = Customer(account.did, f"u{account.did}", "pw-smpp")
    site.cli("did", "set", found.did, "--smpp", "--smpp-username", found.user, "--smpp-password", found.password)
    return found


Make = Callable[..., Any]
_FOLDERS = itertools.count()


@pytest.fixture
def kannel(tmp_path: Path) -> Make:
    return lambda *login, **more: Kannel(tmp_path / f"kannel{next(_FOLDERS)}", *login, **more)


MAKERS: dict[str, Make] = {
    "node": NodeEsme,
    "smpplib": SmpplibEsme,
    "aiosmpplib": AioEsme,
    "aiosmpplib payload": lambda *login: AioEsme(*login, payload=True),
    "smpp34": Smpp34Esme,
    "smpp34 payload": lambda *login: Smpp34Esme(*login, payload=True),
}
ESMES = ["kannel", *MAKERS]


@pytest.fixture(params=ESMES)
def make(request: pytest.FixtureRequest, kannel: Make) -> Make:
    """Binds one kind of ESME."""

    def bind(*login: Any) -> Any:
        try:
            return MAKERS.get(request.param, kannel)(*login)
        except Missing as why:
            pytest.skip(str(why))

    return bind


@pytest.mark.req("S-066", "S-068", "P-02")
def test_binds_with_its_password_only(make: Make, site: SmppSite, customer: Customer) -> None:
    for user, password in ((customer.user, "pw-wrong"), ("u-nobody", customer.password)):
        with pytest.raises(Refused) as refused, make(site.smpp_port, user, password):
            pass
        assert refused.value.status in (0x0D, 0)  # the same for both; smpp34 does not say
    with make(site.smpp_port, customer.user, customer.password):
        bound = site.wait(lambda: _binds(site, customer), 10)
        assert [(row["direction"], row["mode"]) for row in bound] == [("in", "transceiver")]
    site.wait(lambda: not _binds(site, customer), 10)


def _binds(site: Site, customer: Customer) -> list[dict[str, Any]]:
    """A node writes down its sessions every few seconds."""
    return [row for row in site.listed("binds") if row["name"] == customer.user]


@pytest.mark.req("S-064", "S-070", "P-11", "P-13", "P-14", "P-15")
@TEXTS
def test_sends_a_text_and_hears_of_it(make: Make, site: SmppSite, customer: Customer, text: str) -> None:
    with make(site.smpp_port, customer.user, customer.password) as esme:
        reply = esme.send(customer.number, PHONE, text)
        assert reply.status == 0
        row = site.settled(customer.did, text, "delivered")
        assert (row["direction"], row["from"], row["to"]) == ("out", customer.did, HANDSET)
        told = esme.receipts.first(lambda told: told.id in reply.ids)
        assert told.state == "DELIVRD"


@pytest.mark.req("S-070")
def test_sends_from_its_own_number_only(make: Make, site: SmppSite, customer: Customer) -> None:
    other = site.account()
    with make(site.smpp_port, customer.user, customer.password) as esme:
        assert esme.send("1" + other.did, PHONE, "not mine").status == 0x0A  # ESME_RINVSRCADR
    assert site.rows(other.did) == []


@pytest.mark.req("S-071", "P-13", "P-15")
def test_hears_what_comes_in(make: Make, site: SmppSite, customer: Customer) -> None:
    texts = [GSM, EMOJI, LONG.strip(), LONG_EMOJI.strip()]
    with make(site.smpp_port, customer.user, customer.password) as esme:
        for text in texts:
            site.sms(customer.did, text)
            site.settled(customer.did, text, "delivered")
        _came(esme, _from_handset(customer, texts))


@pytest.mark.req("P-16")
def test_what_came_while_it_was_away_waits_in_order(make: Make, site: SmppSite, customer: Customer) -> None:
    texts = [f"number {n}" for n in range(5)]
    for text in texts:
        site.sms(customer.did, text)
    with make(site.smpp_port, customer.user, customer.password) as esme:
        _came(esme, _from_handset(customer, texts))
        for text in texts:
            site.settled(customer.did, text, "delivered")
    assert len(esme.messages) == len(texts)  # none twice


def _came(esme: Any, wanted: list[Came]) -> None:
    """In order, but for Kannel, which makes an HTTP request of each and several at once."""
    found = [_bare(came) for came in esme.messages.count(len(wanted))]
    assert found == wanted or (isinstance(esme, Kannel) and sorted(found) == sorted(wanted))


def _bare(came: Came) -> Came:
    """Numbers as the store has them."""
    return came._replace(source=came.source[-10:], destination=came.destination[-10:])


def _from_handset(customer: Customer, texts: list[str]) -> list[Came]:
    return [Came(HANDSET, customer.did, text) for text in texts]


# --- TLS ---


@pytest.mark.req("S-067")
@pytest.mark.parametrize("kind", ["kannel", "node", "smpplib", "smpp34"])
def test_by_tls(kind: str, kannel: Make, site: SmppSite, customer: Customer, tmp_path: Path) -> None:
    authority = site.authority.write(tmp_path / "authority.pem")
    login = (site.ssmpp_port, customer.user, customer.password)
    esmes: dict[str, Callable[[], Any]] = {
        "kannel": lambda: kannel(*login, authority=authority),
        "node": lambda: NodeEsme(*login, authority=authority),
        "smpplib": lambda: SmpplibEsme(*login, tls=site.authority.trusting()),
        "smpp34": lambda: Smpp34Esme(*login, authority=authority),
    }
    with esmes[kind]() as esme:
        assert esme.send(customer.number, PHONE, LONG.strip()).status == 0
        site.settled(customer.did, LONG.strip(), "delivered")
        site.sms(customer.did, GSM)
        assert esme.messages.first().text == GSM
        bound = site.wait(lambda: _binds(site, customer), 10)
        assert [bool(row["tls"]) for row in bound] == [True]


# --- what node-smpp alone can say ---


@pytest.fixture
def node(site: SmppSite, customer: Customer) -> Iterator[NodeEsme]:
    with NodeEsme(site.smpp_port, customer.user, customer.password) as esme:
        yield esme


@pytest.mark.req("S-069")
@TEXTS
def test_a_customers_deliver_sm_sends(site: SmppSite, customer: Customer, node: NodeEsme, text: str) -> None:
    node.command = "deliver_sm"
    assert node.send(customer.number, PHONE, text).status == 0
    site.settled(customer.did, text, "delivered")


@pytest.mark.req("P-11")
def test_the_receipt_comes_after_the_answer(customer: Customer, node: NodeEsme) -> None:
    for n in range(20):
        node.send(customer.number, PHONE, f"in good order {n}")
    node.receipts.count(20)
    answered: set[str] = set()
    for event in node.events:
        if event["event"] == "answer" and event["pdu"].get("message_id"):
            answered.add(event["pdu"]["message_id"])
        elif event["event"] == "deliver_sm":
            assert event["pdu"]["receipted_message_id"] in answered


@pytest.mark.req("S-064")
def test_submit_multi_and_query(site: SmppSite, customer: Customer, node: NodeEsme) -> None:
    numbers = ["14445550001", "14445550002"]
    answer = node.pdu(
        "submit_multi",
        source_addr=customer.number, source_addr_ton=1,
        dest_address=[{"dest_addr_ton": 1, "dest_addr_npi": 1, "destination_addr": number} for number in numbers],
        short_message="to both",
    )  # fmt: skip
    assert answer["command_status"] == 0
    site.wait(lambda: {row["to"] for row in site.rows(customer.did)} == {number[1:] for number in numbers})
    id = node.send(customer.number, PHONE, "how is it?").id
    site.settled(customer.did, "how is it?", "delivered")
    found = node.pdu("query_sm", message_id=id, source_addr=customer.number, source_addr_ton=1)
    assert (found["command_status"], found["message_state"]) == (0, 2)


@pytest.mark.req("P-16")
def test_a_transmitter_hears_nothing_and_a_receiver_sends_nothing(site: SmppSite, customer: Customer) -> None:
    login = (site.smpp_port, customer.user, customer.password)
    with NodeEsme(*login, mode="tx") as sender, NodeEsme(*login, mode="rx") as hearer:
        assert sender.send(customer.number, PHONE, "by the transmitter").status == 0
        site.sms(customer.did, "for the receiver")
        assert hearer.messages.first().text == "for the receiver"
        assert hearer.receipts.first().state == "DELIVRD"
        assert hearer.send(customer.number, PHONE, "by the receiver").status == 0x04  # ESME_RINVBNDSTS
        assert len(sender.messages) == len(sender.receipts) == 0


@pytest.mark.req("P-16")
def test_several_programs_share_a_bind(site: SmppSite, customer: Customer) -> None:
    """Each message goes to one of them, once."""
    login = (site.smpp_port, customer.user, customer.password)
    with SmpplibEsme(*login) as one, Smpp34Esme(*login) as other:
        texts = [f"for one of two {n}" for n in range(10)]
        for text in texts:
            site.sms(customer.did, text)
        for text in texts:
            site.settled(customer.did, text, "delivered")
        heard = [came.text for came in (*one.messages, *other.messages)]
        assert sorted(heard) == sorted(texts)
