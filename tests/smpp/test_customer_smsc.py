"""The customer's own server, which we bind to for what comes in (S-072 to S-075, S-078)."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from e2e.site import HANDSET

from tests.support.node.certificates import Authority
from tests.support.smpp.records import Came
from tests.support.smpp.smsc import Answer, Smsc, Submitted, deliver_body

from .kit import NAMES, OK, OUR_ID, PHONE, Bind, Customer, Esme, SmppSite, receipt

pytestmark = pytest.mark.e2e


class Push:
    """A customer with a server of its own."""

    def __init__(self, site: SmppSite, customer: Customer, smsc: Smsc) -> None:
        self.site, self.customer, self.smsc = site, customer, smsc

    def url(self, text: str, *more: str) -> None:
        self.site.set(self.customer.did, "--smpp-url", text, *more)

    def sms(self, *texts: str) -> None:
        for text in texts:
            self.site.sms(self.customer.did, text)

    def texts(self, count: int, seconds: float = 15.0) -> list[str]:
        """Taken by the server, once there are so many."""
        return [one.text for one in self.smsc.taken.count(count, seconds)]

    def settled(self, text: str, state: str = "delivered", seconds: float = 15.0) -> None:
        self.site.settled(self.customer.did, text, state, seconds=seconds)


@pytest.fixture(scope="module")
def push_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmppSite]:
    """Certificates are not checked; an answer may take two seconds."""
    folder, quick = tmp_path_factory.mktemp("push"), {"response_timeout": "2s", "verify": False}
    queue = {"retry_min": "200ms", "retry_max": "1s"}
    with SmppSite(folder, 40, smpp=quick, queue=queue) as site:
        yield site


@pytest.fixture
def site(push_site: SmppSite) -> Iterator[SmppSite]:
    yield push_site
    push_site.no_crash()


@pytest.fixture
def push(site: SmppSite, customer: Customer) -> Iterator[Push]:
    """Its server asks for the user and password of the DID, and the URL has none."""
    with Smsc(customer.user, customer.password) as smsc:
        push = Push(site, customer, smsc)
        push.url(f"smpp://127.0.0.1:{smsc.port}")
        yield push
        site.set(customer.did, "--smpp-url", "")


@pytest.mark.req("S-072", "S-074", "S-078", "P-15")
def test_incoming_messages_are_pushed_to_the_smsc_of_the_customer(push: Push) -> None:
    """As submit_sm of a transceiver, with the DID's own user and password, one session for all."""
    texts = ["hello", "Grüße 😀 €", "Long text. " * 40, "Ünïcödé 😀 ж " * 20]
    push.sms(*map(str.strip, texts))
    push.settled(texts[-1].strip())
    assert [one.text for one in push.smsc.ledger().elements()] == [one.strip() for one in texts]
    (bound,) = push.smsc.binds
    assert bound[1:] == ("trx", push.customer.user, push.customer.password, OK)
    first = push.smsc.taken.all[0]
    assert (first.source, first.destination, first.registered) == (HANDSET, push.customer.did, 0)


@pytest.mark.req("S-072")
def test_no_bind_is_opened_before_there_is_a_message(push: Push) -> None:
    assert not push.smsc.binds.all
    push.sms("now")
    push.settled("now")
    assert len(push.smsc.binds) == 1


@pytest.mark.req("S-074")
def test_user_and_password_of_the_url_are_used_for_the_bind(push: Push) -> None:
    push.smsc.user, push.smsc.password = "own%user", "p@ss:w/rd"
    push.url(f"smpp://own%25user:p%40ss%3Aw%2Frd@127.0.0.1:{push.smsc.port}")
    push.sms("with others")
    push.settled("with others")
    push.smsc.user = "own2"
    push.smsc.password = push.customer.password
    push.url(f"smpp://own2@127.0.0.1:{push.smsc.port}")  # only a user: the password stays the DID's
    push.sms("with half")
    push.settled("with half")
    assert [(one.system_id, one.password) for one in push.smsc.binds] == [
        ("own%user", "p@ss:w/rd"), ("own2", push.customer.password),
    ]  # fmt: skip


@pytest.mark.req("S-075")
@pytest.mark.parametrize(("scheme", "port", "address"), [("smpp", 2775, "127.0.77.1"), ("ssmpp", 3550, "127.0.77.2")])
def test_the_default_ports_depend_on_the_scheme(push: Push, scheme: str, port: int, address: str) -> None:
    with socket.create_server((address, port)) as listener:
        listener.settimeout(10)
        push.url(f"{scheme}://{address}")
        push.sms("to the usual port")
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(10)
            begin = connection.recv(3)
        assert begin[:1] == (b"\x16" if scheme == "ssmpp" else b"\0"), "a TLS handshake, or a bind"


@pytest.mark.req("S-073")
def test_only_smpp_urls_are_accepted(site: SmppSite, customer: Customer) -> None:
    for url in ("127.0.0.1:2775", "http://127.0.0.1", "smpps://127.0.0.1", "smpp://", "smpp://127.0.0.1/x"):
        assert site.cli("did", "set", customer.did, "--smpp-url", url, check=False).returncode != 0


@pytest.mark.req("S-072")
def test_without_a_url_messages_wait_for_a_bind_of_the_esme(push: Push, bind: Bind) -> None:
    """What comes in is for the bind again, or waits."""
    push.url("")
    push.sms("not pushed")
    assert bind(push.customer).delivered().text == "not pushed"
    assert not push.smsc.taken.all


# --- TLS ---


@pytest.mark.req("S-073", "A-43")
def test_a_tls_bind_may_skip_the_check_of_the_certificate(push: Push, tmp_path: Path) -> None:
    with Smsc(push.customer.user, push.customer.password, Authority().issue(tmp_path, *NAMES)) as smsc:
        push.url(f"ssmpp://127.0.0.1:{smsc.port}")
        push.sms("by TLS")
        assert smsc.taken.first().text == "by TLS"


@pytest.mark.req("A-43")
def test_no_password_is_sent_to_a_server_with_a_bad_certificate(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("verify")
    good, bad = Authority(), Authority()
    trusted = str(good.write(folder / "good.pem"))
    with (
        Smsc("u001", "pw-smpp", bad.issue(folder / "bad", *NAMES)) as impostor,
        Smsc("u002", "pw-smpp", good.issue(folder / "right", *NAMES)) as right,
        Smsc("u003", "pw-smpp", good.issue(folder / "other", "other.example.net")) as other_name,
    ):
        urls = [f"ssmpp://127.0.0.1:{one.port}" for one in (impostor, right, other_name)]
        site = SmppSite(folder / "node", 3, urls)
        site.environment["SSL_CERT_FILE"] = trusted
        with site:
            customers = [site.customer() for _ in urls]
            for one in customers:
                site.sms(one.did, "secret")
            assert right.taken.first().text == "secret"
            for one in (customers[0], customers[2]):
                site.wait(lambda one=one: "certificate" in _error(site, one.did), 10)
            assert not impostor.pdus.all
            assert not other_name.pdus.all
            site.no_crash()


def _error(site: SmppSite, did: str) -> str:
    return next(str(one["last_error"]) for one in site.rows(did)[0]["deliveries"] if one["courier"] == "smpp")


@pytest.mark.req("A-43", "A-26")
def test_private_addresses_are_not_connected_to(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Neither told at once, nor after the setting has changed under a URL that is there."""
    with Smsc("u001", "pw-smpp") as smsc:
        url = f"smpp://127.0.0.1:{smsc.port}"
        site = SmppSite(tmp_path_factory.mktemp("private"), 2, [url])
        site.write_config(**{**site.settings, "callbacks": {"allow_private": False}})
        with site:
            customer, other = site.customer(), site.customer()
            for private in (url, "smpp://localhost", "smpp://10.0.0.1", "smpp://[::1]", "smpp://169.254.169.254"):
                refused = site.cli("did", "set", other.did, "--smpp-url", private, check=False)
                assert refused.returncode != 0, private
            site.sms(customer.did, "to ourselves")
            site.wait(lambda: _error(site, customer.did), 10)
            assert "127.0.0.1" in _error(site, customer.did)
            assert not smsc.sessions
            assert not smsc.pdus.all
            site.no_crash()


# --- a server that is away, or ends ---


@pytest.mark.req("P-16", "S-072")
def test_messages_wait_for_an_unreachable_smsc_and_arrive_in_order(push: Push) -> None:
    push.smsc.kill()
    texts = [f"while away {n}" for n in range(6)]
    push.sms(*texts)
    push.site.wait(lambda: _error(push.site, push.customer.did))
    push.smsc.start()
    assert push.texts(6) == texts
    push.settled(texts[-1])
    assert len(push.smsc.taken) == 6


@pytest.mark.req("P-16")
def test_a_message_is_repeated_under_the_same_id_after_a_cut_connection(push: Push) -> None:
    """First, under the same name, so that the server can tell; what follows waits."""
    push.smsc.script(Answer(cut=True), Answer(cut=True))
    push.sms("one", "two", "three")
    assert push.texts(5, 20) == ["one", "one", "one", "two", "three"]
    names = [one.tlvs[OUR_ID] for one in push.smsc.taken]
    assert len(set(names)) == 3
    assert len(set(names[:3])) == 1


@pytest.mark.req("P-16")
def test_a_message_without_answer_is_repeated(push: Push) -> None:
    push.smsc.script(Answer(silent=True))
    push.sms("one", "two")
    assert push.texts(3) == ["one", "one", "two"]
    assert len({one.tlvs[OUR_ID] for one in push.smsc.taken.all[:2]}) == 1


@pytest.mark.req("P-16", "I4")
def test_a_late_answer_counts_as_an_answer(push: Push) -> None:
    """A server that takes three seconds for each, where we wait for two."""
    push.smsc.rule = lambda submitted: Answer(after=3.0) if submitted.text == "one" else None
    push.sms("one", "two")
    push.settled("two", seconds=30)
    push.settled("one")
    assert push.texts(2) in (["one", "two"], ["one", "one", "two"])


@pytest.mark.req("P-13", "P-16")
def test_all_parts_of_a_long_text_are_repeated_after_a_cut_connection(push: Push) -> None:
    """All of its parts come again, under one name and reference: the server joins them to the same text."""
    text = ("Long text. " * 40).strip()
    push.smsc.script(Answer(), Answer(cut=True))
    push.sms(text)
    push.settled(text)
    found: dict[int, str] = {}
    for one in push.smsc.taken:
        assert one.part is not None
        assert found.setdefault(one.part.number, one.text) == one.text
    assert "".join(found[number] for number in sorted(found)) == text
    assert len({(one.part and one.part.reference, one.tlvs[OUR_ID]) for one in push.smsc.taken}) == 1


@pytest.mark.req("P-16")
@pytest.mark.parametrize("status", [0x08, 0x58])
def test_messages_refused_as_busy_are_retried_in_order(push: Push, status: int) -> None:
    push.smsc.script(Answer(status=status), Answer(status=status))
    push.sms("one", "two")
    assert push.texts(2, 20) == ["one", "two"]
    assert [one.text for one in push.smsc.submitted] == ["one", "one", "one", "two"]


@pytest.mark.req("P-16")
def test_a_permanent_error_fails_and_other_errors_step_aside(push: Push) -> None:
    push.smsc.script(Answer(status=0x0B), Answer(status=0x45))
    push.sms("never", "not now", "as usual")
    assert "as usual" in push.texts(1)
    push.site.wait(lambda: "not now" in [one.text for one in push.smsc.taken], 15)
    assert [one.text for one in push.smsc.submitted].count("never") == 1


@pytest.mark.req("S-074")
def test_a_bind_with_a_wrong_password_is_retried_less_often(push: Push) -> None:
    push.smsc.password = "another"
    push.sms("let me in")
    binds = push.smsc.binds.count(3, 12)
    assert {one.status for one in binds} == {0x0E}
    assert "0xe" in _error(push.site, push.customer.did)
    assert not push.smsc.submitted.all
    push.smsc.password = push.customer.password
    push.settled("let me in", seconds=20)


@pytest.mark.req("S-078")
def test_binds_shows_a_server_that_cannot_be_bound_to(push: Push) -> None:
    def row() -> dict[str, Any]:
        name = push.customer.did
        return next((one for one in push.site.listed("binds") if one["name"] == name), {})

    push.smsc.password = "another"
    push.sms("let me in")
    found = push.site.wait(lambda: row() if row().get("state") == "unbound" else None, 15)
    assert (found["account"], found["direction"], found["why"]) == (push.customer.name, "out", "no bind: refused: 0xe")
    push.smsc.password = push.customer.password
    push.settled("let me in", seconds=20)
    found = push.site.wait(lambda: row() if row()["state"] == "bound" else None, 15)
    assert found["why"] == ""
    shown = push.site.cli("binds").stdout
    assert datetime.fromtimestamp(found["since"], UTC).strftime("%Y-%m-%d %H:%M:%S") in shown


@pytest.mark.req("P-17")
def test_a_server_that_unbinds_is_bound_again(push: Push) -> None:
    push.sms("before")
    push.settled("before")
    push.smsc.unbind()
    push.smsc.ended.count(1)
    push.sms("after")
    assert push.texts(2) == ["before", "after"]


def test_a_deliver_by_the_smsc_of_a_customer_is_refused(push: Push) -> None:
    """0x66, so that it does not come again; its receipts are no news."""
    push.sms("hello")
    push.settled("hello")
    push.smsc.mo(HANDSET, push.customer.did, "by the wrong bind")
    assert push.smsc.answered.first().status == 0x66
    told = b"id:1 sub:001 dlvrd:001 submit date:2611281200 done date:2611281201 stat:DELIVRD err:000 text:"
    for esm_class, coding in ((4, 0), (0, 0), (4, 8)):
        push.smsc.deliver(deliver_body(HANDSET, push.customer.did, told, coding, esm_class))
    assert [pdu.status for pdu in push.smsc.answered.count(4)] == [0x66, OK, OK, OK]
    assert push.site.texts(push.customer.did) == ["hello"]


# --- bound, pushed, and back ---


@pytest.mark.req("S-072", "S-078")
def test_waiting_messages_follow_the_setting_between_bind_and_url(push: Push, bind: Bind) -> None:
    """What waits goes by the way that is set now; never by both."""
    esme = bind(push.customer)
    push.sms("pushed 1")
    push.settled("pushed 1")
    push.url("")
    push.sms("bound 1")
    assert esme.delivered().text == "bound 1"
    push.url(f"smpp://127.0.0.1:{push.smsc.port}")
    push.sms("pushed 2")
    push.settled("pushed 2")
    push.smsc.kill()
    push.sms("waits for the server", "that too")
    push.site.wait(lambda: _waits(push, "waits for the server"))
    push.url("")
    assert [esme.delivered().text for _ in range(2)] == ["waits for the server", "that too"]
    assert esme.silent(0.3)
    assert [one.text for one in push.smsc.taken] == ["pushed 1", "pushed 2"]


def _waits(push: Push, text: str) -> bool:
    (row,) = [one for one in push.site.rows(push.customer.did) if one["text"] == text]
    return any(one["courier"] == "smpp" and one["last_error"] for one in row["deliveries"])


@pytest.mark.req("P-11")
def test_receipts_are_delivered_only_to_binds_of_the_esme(push: Push, bind: Bind) -> None:
    esme: Esme = bind(push.customer)
    answer = esme.submit(push.customer.did, PHONE, "with a receipt", receipt=1)
    assert receipt(esme).named == answer.text
    push.sms("and one that comes in")
    push.settled("and one that comes in")
    assert [one.text for one in push.smsc.submitted] == ["and one that comes in"]
    assert esme.silent(0.2)


@pytest.mark.req("S-078")
def test_two_customers_with_one_server_have_separate_binds(push: Push, site: SmppSite) -> None:
    """Two customers with one server; the list of binds shows both, with no password."""
    other = site.customer()
    push.smsc.user, port = "shared", push.smsc.port
    for did in (push.customer.did, other.did):
        site.set(did, "--smpp-url", f"smpp://shared:pw-smpp@127.0.0.1:{port}")
        site.sms(did, f"for {did}")
    assert {one.destination for one in push.smsc.taken.count(2)} == {push.customer.did, other.did}
    assert len(push.smsc.binds) == 2

    def rows() -> list[dict[str, Any]]:
        return [row for row in site.listed("binds") if row["peer"].endswith(f":{port}")]

    found = site.wait(lambda: shown if len(shown := rows()) == 2 else None, 8)
    assert {row["account"] for row in found} == {push.customer.name, other.name}
    assert {row["direction"] for row in found} == {"out"}
    assert "pw-smpp" not in str(found)


@pytest.mark.req("S-078", "P-16")
def test_hundreds_of_messages_arrive_once_over_sessions_that_break(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Hundreds of messages by push, while the server is killed now and then: each once, by its name, and in order."""
    with Smsc("u001", "pw-smpp") as smsc:
        queue = {"retry_min": "100ms", "retry_max": "300ms"}
        site = SmppSite(tmp_path_factory.mktemp("many"), 1, [f"smpp://127.0.0.1:{smsc.port}"], queue=queue)
        with site:
            customer = site.customer()
            for n in range(200):
                site.sms(customer.did, f"many {n}")
                if n in (60, 120):
                    smsc.cut()
            smsc.taken.until(lambda all: len({one.tlvs[OUR_ID] for one in all}) == 200, 30)
            once = _first_of_each(smsc.taken.all)
            assert once == [Came(HANDSET, customer.did, f"many {n}") for n in range(200)]
            site.no_crash()


def _first_of_each(taken: list[Submitted]) -> list[Came]:
    by_name = {}
    for one in taken:
        by_name.setdefault(one.tlvs[OUR_ID], Came(one.source, one.destination, one.text))
    return list(by_name.values())


def test_one_session_is_reused_for_messages_in_sequence(push: Push) -> None:
    for n in range(3):
        push.sms(f"now and then {n}")
        push.settled(f"now and then {n}")
    assert len(push.smsc.binds) == 1
