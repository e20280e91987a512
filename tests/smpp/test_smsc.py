"""A carrier's SMSC that is not as one would like it: fewer binds than configured, throttling, a kill meanwhile."""

from __future__ import annotations

import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from smpp.kit import OK, PHONE, Esme, SmppSite
from tests.support.smpp.smsc import THROTTLED, Answer, Pdu, Session, Smsc, deliver_body
from tests.support.smpp.wire import UNBIND

pytestmark = pytest.mark.e2e


class Jealous(Smsc):
    """Whoever binds ends the sessions of before: one session a user, as many have it."""

    def _bind(self, session: Session, pdu: Pdu) -> None:
        for old in self.sessions:
            if old is not session and old.mode:
                old.writer.close()
        super()._bind(session, pdu)


class Narrow(Smsc):
    """One session, and whoever comes then is refused."""

    def _bind(self, session: Session, pdu: Pdu) -> None:
        self.bind_status = 0x0D if any(one.status == 0 for one in self.binds) else 0
        super()._bind(session, pdu)


@contextmanager
def site(folder: Path, smsc: Smsc, **carrier: Any) -> Iterator[SmppSite]:
    with SmppSite(folder / "site", 3, carriers={"smsc": {"type": "smpp", "url": smsc.url, **carrier}}) as server:
        yield server
        server.no_crash()


@pytest.mark.req("S-078", "P-08")
def test_a_bind_has_its_window_whatever_the_other_binds_do(tmp_path: Path) -> None:
    with Narrow() as smsc, site(tmp_path, smsc, binds=4, window=5) as server:
        smsc.default = Answer(after=0.2)
        customer = server.customer()
        smsc.binds.count(4)
        with Esme(server.smpp_port) as esme:
            esme.bind(customer.user, customer.password)
            for n in range(40):
                assert esme.submit(customer.did, f"21255501{n:02d}", f"narrow {n}").status == OK
        smsc.taken.count(40)
        assert 1 < smsc.most_open <= 5
        down = [row for row in server.listed("binds") if row["state"] == "unbound"]
        assert [(row["name"], row["why"]) for row in down] == [("carrier:smsc", "no bind: refused: 0xd")]


@pytest.mark.req("S-078")
def test_a_bind_that_is_closed_at_once_is_reopened_after_a_pause(tmp_path: Path) -> None:
    with Jealous() as smsc, site(tmp_path, smsc, binds=2) as server:
        smsc.binds.count(7, 30)
        ended = server.events("smpp_carrier_unbound")
        at = [pdu.at for pdu in smsc.pdus if pdu.command in (1, 2, 9)]
        assert len(ended) >= 5
        pairs = zip(at, at[2:], strict=False)
        assert all(later - earlier > 0.8 for earlier, later in pairs), "each of the two waits, first a second"


@pytest.mark.req("F-01", "F-15", "P-09")
def test_a_kill_during_throttling_leaves_only_sent_messages_unknown(tmp_path: Path) -> None:
    """What waits for its turn has not left: nothing but what the SMSC has seen is unknown, and all else goes out."""
    with Smsc() as smsc, site(tmp_path, smsc, binds=2, window=20) as server:
        smsc.rule = lambda found: Answer(status=THROTTLED) if len(smsc.submitted) % 6 == 5 else None
        customer = server.customer()
        with Esme(server.smpp_port) as esme:
            esme.bind(customer.user, customer.password)
            for n in range(60):
                assert esme.submit(customer.did, f"21255501{n:02d}", f"killed {n}").status == OK
        smsc.submitted.count(12, 30)
        server.kill()
        seen = {found.text for found in smsc.submitted}
        assert len(seen) < 60
        smsc.rule = lambda found: None
        server.start()
        settled = {"accepted", "unknown"}
        server.wait(lambda: all(row["state"] in settled for row in server.rows(customer.did)), 30)
        unknown = {row["text"] for row in server.rows(customer.did) if row["state"] == "unknown"}
        assert unknown <= seen
        assert {found.text for found in smsc.taken} >= {f"killed {n}" for n in range(60)} - unknown
        assert len(smsc.taken) == len({found.text for found in smsc.taken})


@pytest.mark.req("I4", "P-10", "F-01")
def test_a_message_during_the_stop_is_answered_and_not_in_doubt(tmp_path: Path) -> None:
    """Its carriers' binds are the last to end, and in order: an equal text after the start is another message."""
    with Smsc() as smsc, site(tmp_path, smsc) as server:
        smsc.default = Answer(after=3.0)
        customer = server.customer()
        smsc.binds.count(1)
        with Esme(server.smpp_port) as esme:
            esme.bind(customer.user, customer.password)
            assert esme.submit(customer.did, PHONE, "is being sent").status == OK
            smsc.submitted.count(1)
            server.signal(signal.SIGTERM)
            assert esme.receive().command == UNBIND
        smsc.mo(PHONE, customer.did, "yes")
        smsc.answered.count(1)
        server.stop()
        server.start()
        smsc.binds.count(2)
        smsc.mo(PHONE, customer.did, "yes")
        smsc.answered.count(2)
        assert sorted(row["text"] for row in server.rows(customer.did)) == ["is being sent", "yes", "yes"]


@pytest.mark.parametrize(("numbers", "source"), [("e164-bare", "+4791234567"), ("nanpa", "4791234567")])
def test_ten_digits_with_ton_1_are_an_international_number(tmp_path: Path, numbers: str, source: str) -> None:
    """TON 1 says so; 479 is also an area code."""
    with Smsc() as smsc, site(tmp_path, smsc, numbers=numbers) as server:
        customer = server.customer()
        smsc.binds.count(1)
        smsc.deliver(deliver_body("4791234567", customer.did, b"from Norway", ton=1))
        assert server.settled(customer.did, "from Norway", "queued")["from"] == source


@pytest.mark.req("P-15")
@pytest.mark.parametrize(
    ("coding", "esm_class", "octets"),
    [(8, 0, b"\x00h\x00i\x00"), (0, 0x40, b"\x20\x00\x03\x01"), (4, 0, b"\x01\x02\x03")],
)  # fmt: skip
def test_an_unreadable_incoming_message_is_stored(tmp_path: Path, coding: int, esm_class: int, octets: bytes) -> None:
    """Half a letter of UCS-2, a header without end, bare octets: the phone's owner cannot send it better."""
    with Smsc() as smsc, site(tmp_path, smsc) as server:
        customer = server.customer()
        smsc.binds.count(1)
        smsc.deliver(deliver_body(PHONE, customer.did, octets, coding, esm_class))
        text = f"(binary message, coding {coding}, {len(octets)} octets: {octets.hex()})"
        server.settled(customer.did, text, "queued")
        smsc.answered.count(1)
        assert [pdu.status for pdu in smsc.answered] == [OK]


@pytest.mark.req("P-13")
def test_the_longest_text_is_delivered_and_a_longer_one_refused(tmp_path: Path) -> None:
    """In 150 parts to an ESME; what has more characters than anybody writes is refused, and nothing breaks."""
    with Smsc() as smsc, site(tmp_path, smsc) as server:
        customer = server.customer()
        smsc.binds.count(1)
        for text in ("é" * 10_000, "x" * 10_001):
            octets = text.encode("latin-1")
            payload = struct.pack(">HH", 0x0424, len(octets)) + octets
            smsc.deliver(deliver_body(PHONE, customer.did, b"", 3, tlvs=payload))
        smsc.answered.count(2)
        assert sorted(pdu.status for pdu in smsc.answered) == [OK, 0x01]
        with Esme(server.smpp_port) as esme:
            esme.bind(customer.user, customer.password)
            parts = [esme.delivered().text[6:] for _ in range(66)]  # behind their headers
        assert "".join(parts) == "\x05" * 10_000  # é of GSM 03.38


RECEIPT = "id:{id} sub:001 dlvrd:001 submit date:2611281200 done date:2611281201 stat:{state} err:000 text:Hi"


def _told(id: str, state: str = "DELIVRD") -> bytes:
    return RECEIPT.format(id=id, state=state).encode()


@pytest.mark.req("P-11", "G09")
def test_receipts_of_all_smscs_settle_their_messages(tmp_path: Path) -> None:
    """node-smpp#68, #140, smscsim#4, jsmpp#214, vumi#637: none of them is an SMS to the sender's phone."""
    both = struct.pack(">HH", 0x1E, 4) + b"T-5\0" + struct.pack(">HHB", 0x427, 1, 2)
    cut = b"\x14\x01\x00\x40abc"
    told = {  # id of the answer -> octets, coding, esm_class, TLVs
        "S1": (_told("S1") + b"!", 8, 4, b""),
        "000000001a2b3c77": (_told("439041143"), 0, 4, b""),
        "ab12cd34": (_told("AB12CD34"), 0xF6, 4, b""),
        "T-5": (b"id:other", 0, 0, both),
        "T6": (_told("T6"), 0, 0, cut),
        "T7": (_told("T7").decode().encode("utf-16-le"), 8, 0x20, b""),
        "T8": (_told("T8"), 0, 8, b""),
        "T9": (_told("t9"), 0, 4, both[8:][:3]),
    }
    with Smsc() as smsc, site(tmp_path, smsc) as server:
        ids = iter(told)
        smsc.rule = lambda found: Answer(id=next(ids))
        customer = server.customer()
        with Esme(server.smpp_port) as esme:
            esme.bind(customer.user, customer.password)
            for number, name in enumerate(told, 1):
                assert esme.submit(customer.did, PHONE, f"to {name}").status == OK
                smsc.taken.count(number)
        for name, (octets, coding, esm_class, tlvs) in told.items():
            server.settled(customer.did, f"to {name}", "accepted")
            smsc.deliver(deliver_body(PHONE, customer.did, octets, coding, esm_class, tlvs))
        for name in told:
            server.settled(customer.did, f"to {name}", "delivered")
        smsc.answered.count(len(told))
        assert {pdu.status for pdu in smsc.answered} == {OK}
        assert all(row["text"].startswith("to ") for row in server.rows(customer.did))


@pytest.mark.req("P-11")
def test_a_text_that_only_looks_like_a_receipt_is_a_message(tmp_path: Path) -> None:
    with Smsc() as smsc, site(tmp_path, smsc) as server:
        smsc.default = Answer(id="77")
        customer = server.customer()
        with Esme(server.smpp_port) as esme:
            esme.bind(customer.user, customer.password)
            assert esme.submit(customer.did, PHONE, "hello").status == OK
        server.settled(customer.did, "hello", "accepted")
        for octets, source in ((_told("78"), PHONE), (_told("77"), "12125550199")):
            smsc.deliver(deliver_body(source, customer.did, octets))
        smsc.answered.count(2)
        assert {row["text"] for row in server.rows(customer.did)} == {
            "hello", _told("77").decode(), _told("78").decode()
        }  # fmt: skip
        server.settled(customer.did, "hello", "accepted")


@pytest.mark.req("P-13", "P-15")
def test_incoming_texts_of_all_codings_and_headers_are_read(tmp_path: Path) -> None:
    """jsmpp#31, #64, #214, thingsboard#15477, sms-smpp#93, gosmpp#198, node-smpp#133."""
    concat = (b"\x05\x00\x03\x91\x02\x01", b"\x05\x00\x03\x91\x02\x02")
    came = [
        (b"class 1", 0x11, 0, "class 1"), (b"flash @", 0x10, 0, "flash ¡"),
        ("Привет".encode("iso-8859-5"), 6, 0, "Привет"),
        ("שלום".encode("iso-8859-8"), 7, 0, "שלום"), ("日本".encode("iso2022_jp"), 5, 0, "日本"),
        ("안녕".encode("euc-kr"), 14, 0, "안녕"), (b"\x05\x0a\x03\x00\x04\x10ems text", 0, 0x40, "ems text"),
        ("\ufeffhello é".encode("utf-16-be"), 8, 0, "hello é"), ("\ufefflittle".encode("utf-16-le"), 0x18, 0, "little"),
        (b"[Acme] {1} ~ \\ | ^", 1, 0, "[Acme] {1} ~ \\ | ^"),
        (concat[1] + b"e.", 0, 0x40, "price 5€."), (concat[0] + b"price 5\x1b", 0, 0x40, ""),
    ]  # fmt: skip
    with Smsc() as smsc, site(tmp_path, smsc) as server:
        customer = server.customer()
        smsc.binds.count(1)
        for octets, coding, esm_class, _ in came:
            smsc.deliver(deliver_body(PHONE, customer.did, octets, coding, esm_class))
        smsc.deliver(deliver_body(PHONE, customer.did, b"cut off", tlvs=b"\x14\x01\x00\x40abc"))
        for text in (*(one[3] for one in came if one[3]), "cut off"):
            server.settled(customer.did, text, "queued")
        assert {pdu.status for pdu in smsc.answered} == {OK}
