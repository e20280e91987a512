"""Who has a password may use his own account and no other: A-03 to A-06, A-13 to A-16, A-31, A-32."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from tests.support.sip.wire import Draft, Incoming, Phone, listening, token

from .conftest import Account, MakePhone
from .fort import HANDSET, Fort

INJECTIONS = [
    "api", "$(id)", ";id", "`id`", "{{7*7}}", "${7*7}", "%s%s%n", "../../etc/passwd", "' OR 1=1--", '" OR ""="',
    "\x1b[2J",
    "<img src=x onerror=alert(1)>", "=HYPERLINK(1)", "{from} {to} {text}", "\\x00\\r\\n", "%0d%0aBcc: x", "<!ENTITY x>",
]  # fmt: skip


class Signer:
    """Many requests on one challenge, by counting up nc: no round trip for each."""

    def __init__(self, phone: Phone, method: str = "MESSAGE") -> None:
        self._phone = phone
        draft = phone.message_draft(HANDSET) if method == "MESSAGE" else phone.register_draft()
        self._challenge = phone.ask(draft).challenges()[0]
        self._header = "Proxy-Authorization" if method == "MESSAGE" else "Authorization"
        self._count = itertools.count(1)

    def ask(self, draft: Draft) -> Incoming:
        self._phone.credentials.nc = next(self._count)
        return self._phone.ask(draft.add(self._header, self._phone.credentials.header(self._challenge, draft)))


def refused(answer: Incoming) -> bool:
    return 400 <= answer.status < 500


# --- who sends -------------------------------------------------------------------------------------------------------


@pytest.mark.req("A-03")
def test_a03_the_sender_is_the_authenticated_account(lab: Fort, account: Account, make_phone: MakePhone) -> None:
    """Other people's numbers and accounts in From, with all that confuses parsers around them."""
    other = lab.account()
    phone = make_phone(account, "tcp")
    signer = Signer(phone)
    names = [other.did, f'"{other.did}"', '"a\\"b"', '"\\<sip:x@y\\>"', '"%00"', '""', f'"{other.did} "', "'x'"]
    users = [account.name, other.name, other.did, f"{other.did}@{phone.domain}%00", f"{account.name}%40x", ""]
    for number, (name, user) in enumerate(itertools.product(names, users)):
        at = f"{user}@" if user else ""
        draft = phone.message_draft(HANDSET, f"good {number}")
        signer.ask(draft.set("From", f"{name} <sip:{at}{phone.domain}>;tag=x"))
    rows = lab.rows(account.did)
    assert rows
    assert {row["from"] for row in rows} == {account.did}
    assert [row for row in lab.rows(other.did) if row["direction"] == "out"] == []
    lab.wait(lambda: len(lab.carrier.taken) >= len(rows))
    assert other.did not in {one.json["from"] for one in lab.carrier.taken}


@pytest.mark.req("A-03")
@pytest.mark.parametrize(
    "value", ['"a\0b" <sip:{}>;tag=x', '"a\rb" <sip:{}>;tag=x', '"a\nb" <sip:{}>;tag=x', "<<sip:{}>;tag=x"]
)
def test_a03_control_characters_are_refused(lab: Fort, account: Account, make_phone: MakePhone, value: str) -> None:
    phone = make_phone(account)
    draft = phone.message_draft(HANDSET, "bad name").set("From", value.format(phone.aor[4:]))
    answer = phone.ask(draft)
    assert answer.status == 400
    assert lab.rows(account.did) == []


@pytest.mark.req("A-05")
def test_a05_headers_that_claim_an_identity_are_ignored(lab: Fort, account: Account, make_phone: MakePhone) -> None:
    """CVE-2020-28361, CVE-2016-9938: also with blanks before the colon; for a stranger they are no credentials."""
    other = lab.account()
    phone, stranger = make_phone(account, "tcp"), make_phone("nobody", "tcp", "x")
    claims = ("P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID", "X-Account", "X-User", "X-SMS-From",
              "P-Charge-Info", "Diversion", "Privacy", "Referred-By", "Identity")  # fmt: skip
    for number, blank in enumerate(("", " ", "\t", " \t ")):
        draft = phone.message_draft(HANDSET, f"good {number}")
        theirs = stranger.message_draft(HANDSET, "bad")
        for name in claims:
            draft.add(name + blank, f'"{other.did}" <sip:{other.did}@{phone.domain}>')
            theirs.add(name + blank, f"<sip:{account.name}@{phone.domain}>")
        assert phone.settled(draft).status == 202
        assert stranger.ask(theirs).status == 407
    assert [row["from"] for row in lab.rows(account.did)] == [account.did] * 4
    lab.wait(lambda: len(sent(lab, account)) == 4)
    assert other.did not in json.dumps([one.json for one in sent(lab, account)])


def sent(lab: Fort, account: Account) -> list[Any]:
    return [one for one in lab.carrier.taken if one.json["from"] == account.did]


@pytest.mark.req("A-04")
def test_a04_five_hundred_expensive_numbers_are_refused(lab: Fort, account: Account, make_phone: MakePhone) -> None:
    """Abroad, premium, service codes, with prefixes and in all writings: each refused with its rule, none sent."""
    abroad = [
        f"{prefix}{country}{number}"
        for prefix in ("011", "00", "+", "%2B", "1011")
        for country in ("44", "53", "252", "371", "675", "881", "882", "979")
        for number in ("5551234", "207946000")
    ]
    premium = [
        f"{area}555{n:04d}" for area in ("900", "767", "242", "876", "809", "284", "664", "473") for n in range(30)
    ]
    service = "911 988 112 999 000 411 611 711 811 0 00 *67 *72 #31# 9911 1911".split()
    written = [
        f"{before}{n}{after}"
        for n in ("9005551234", "8765551234", "5551234567")
        for before in ("1", "+1", "01", "*67", "9,", "p")
        for after in ("", ";ext=1", "%20", "w1", "#")
    ]
    premium += [f"{area}976{n:04d}" for area in ("212", "415", "604") for n in range(5)]
    numbers = [*abroad, *premium, *service, *written]
    numbers += [f"{n:03d}0000000" for n in (0, 1, 100, 111, 199)] + ["5" * length for length in range(1, 10)]
    numbers += ["5" * length for length in range(11, 60)]
    phone = make_phone(account, "tcp")
    signer = Signer(phone)
    answers = {number: signer.ask(phone.message_draft(number, "expensive")) for number in dict.fromkeys(numbers)}
    assert len(answers) >= 450
    assert [number for number, answer in answers.items() if not refused(answer)] == []
    assert all(answer.has("warning") for answer in answers.values())
    assert lab.rows(account.did) == []


@pytest.mark.req("A-06")
def test_a06_commands_in_texts_reach_the_carrier_unchanged(lab: Fort, account: Account, make_phone: MakePhone) -> None:
    """CVE-2026-116779: what looks like a command in a body reaches the carrier to the letter, and nothing else does."""
    phone = make_phone(account, "tcp")
    phone.register()
    signer = Signer(phone)
    texts = [f"good {one}" for one in INJECTIONS]
    assert [signer.ask(phone.message_draft(HANDSET, text)).status for text in texts] == [202] * len(texts)
    lab.wait(lambda: len(sent(lab, account)) == len(texts))
    assert sorted(one.json["text"] for one in sent(lab, account)) == sorted(texts)
    for text in texts:
        lab.sms(account.did, text)
        assert phone.take().text == text


@pytest.mark.req("A-06")
def test_a06_hostile_values_in_other_fields_do_no_harm(lab: Fort, account: Account, make_phone: MakePhone) -> None:
    """Users, hosts and headers: refused, or of no meaning. Never a 5xx, never a crash."""
    phone = make_phone(account, "tcp")
    signer = Signer(phone)
    for number, one in enumerate(INJECTIONS):
        quoted = "".join(char if char.isalnum() else f"%{ord(char):02X}" for char in one)
        drafts = [phone.message_draft(quoted, "bad"), phone.message_draft(HANDSET, "bad")]
        drafts[0].set("To", f"<sip:{quoted}@{phone.domain}>")
        drafts[1].uri = f"sip:{HANDSET}@{quoted}.example"
        answers = [signer.ask(draft) for draft in drafts]
        assert all(refused(answer) for answer in answers), (one, [answer.start for answer in answers])
        draft = phone.message_draft(HANDSET, f"good field {number}").set("Call-ID", quoted + str(number))
        for name in ("User-Agent", "Subject", "Organization", "X-Account", "Content-Disposition", "Accept", "Date"):
            draft.add(name, one.replace("\x1b", ""))
        assert signer.ask(draft).status in (202, 400, 415)


# --- who is registered -----------------------------------------------------------------------------------------------


@pytest.mark.req("A-13")
def test_a13_no_account_registers_another(lab: Fort, account: Account, phone: Phone, make_phone: MakePhone) -> None:
    """B's password, A's AOR: no contact comes, none goes, and nothing is told."""
    phone.register()
    thief = make_phone(lab.account(), phone.wire.name)
    for contacts, expires in (((f"<{thief.contact}>",), 600), (("*",), 0), ((f"<{phone.contact}>",), 0), ((), None)):
        for from_ in (thief.aor, phone.aor):
            draft = thief.register_draft(*contacts, expires=expires).set("To", f"<{phone.aor}>")
            answer = thief.authenticated(draft.set("From", f"<{from_}>;tag={token()}"))
            assert answer.status == 403
            assert not answer.has("contact")
    for user in (f"{account.name}%00", f"{account.name};x=y", f"%{ord(account.name[0]):02x}{account.name[1:]}"):
        assert (
            thief.authenticated(thief.register_draft("*", expires=0).set("To", f"<sip:{user}@{thief.domain}>")).status
            >= 400
        )
    assert list(phone.bindings()) == [phone.contact]


@pytest.mark.req("A-13")
def test_a13_a_captured_register_is_refused(lab: Fort, account: Account, phone: Phone, make_phone: MakePhone) -> None:
    """A REGISTER that was right once, from another place: refused, and the phone is reached where it is."""
    signed = phone.signed(phone.register_draft(f"<{phone.contact}>"))
    assert phone.ask(signed).status == 200
    thief = make_phone(account, phone.wire.name, "unknown")
    for bent in (
        signed.copy(),
        signed.copy().set("Contact", f"<{thief.contact}>"),
        signed.copy().set("Contact", "*").add("Expires", "0"),
        signed.copy().set("CSeq", "999 REGISTER").set("Contact", f"<{thief.contact}>;expires=0"),
    ):
        assert thief.ask(bent.set_first_via(thief.via())).status in (401, 482)
    lab.sms(account.did, "for the owner")
    assert phone.take().text == "for the owner"
    thief.assert_silent(0.1)


@pytest.mark.req("A-13")
def test_a13_an_older_cseq_changes_nothing(phone: Phone) -> None:
    """RFC 3261 section 10.3 step 7: what was overtaken changes nothing."""
    phone.register_cseq = 100
    phone.register()
    phone.register_cseq = 5
    assert phone.authenticated(phone.register_draft(f"<{phone.contact}>", expires=0)).status >= 400
    phone.register_cseq = 200
    assert list(phone.bindings()) == [phone.contact]


@pytest.mark.req("A-14")
@pytest.mark.parametrize("kind", ["contacts", "instances"])
def test_a14_the_number_of_bindings_is_limited(lab: Fort, account: Account, make_phone: MakePhone, kind: str) -> None:
    """Ten are kept, one at a time or all in one; the rest is refused, and memory does not grow."""
    phone = make_phone(account, "tcp")
    host, port = phone.wire.local
    signer, before = Signer(phone, "REGISTER"), lab.memory()
    statuses = []
    for n in range(500):
        user, instance = (f"u{n}", "") if kind == "contacts" else ("u", f';+sip.instance="<urn:uuid:{n}>";reg-id=1')
        contact = f"<sip:{user}@{host}:{port + (n if kind == 'instances' else 0) % 1000};transport=tcp>{instance}"
        statuses.append(signer.ask(phone.register_draft(contact)).status)
    assert statuses == [200] * 10 + [403] * 490
    many = [f"<sip:m{n}@{host}:{port};transport=tcp>" for n in range(100)]
    assert signer.ask(phone.register_draft(*many)).status == 403
    assert len(lab.bindings(account.name)) == 10
    assert lab.memory() - before < 20
    assert signer.ask(phone.register_draft("*", expires=0)).status == 200


def _poisoned(udp: int, tcp: int, own: int) -> list[str]:
    return [
        f"sip:x@127.0.0.1:{tcp};transport=tcp", f"sip:x@127.0.0.1:{udp}", f"sip:x@localhost:{udp}",
        f"sip:x@[::ffff:127.0.0.1]:{tcp};transport=tcp", f"sip:x@2130706433:{udp}", f"sip:x@0x7f.1:{udp}",
        "sip:x@169.254.169.254:80;transport=tcp;maddr=127.0.0.1", f"sip:x@192.0.2.1:{udp};maddr=127.0.0.1",
        "sip:x@127.0.0.1:25", "sip:x@127.0.0.1:0", "sip:x@224.0.1.75:5060", "sip:x@255.255.255.255",
        f"sip:x@127.0.0.1:{own}", f"sip:x@192.0.2.1;received=127.0.0.1:{udp}",
    ]  # fmt: skip


@pytest.mark.req("A-15")
def test_a15_no_connection_is_made_to_a_contact(lab: Fort, transport: str, make_phone: MakePhone) -> None:
    """Contacts that name other services, here and elsewhere: refused, or delivery is by the flow that registered."""
    with listening() as udp, listening("tcp") as tcp:
        for contact in _poisoned(udp.address[1], tcp.address[1], lab.sip_port):
            account = lab.account()
            phone = make_phone(account, transport)
            answer = phone.authenticated(phone.register_draft(f"<{contact}>"))
            if answer.status != 200:
                assert refused(answer)
                continue
            lab.sms(account.did, "where to?")
            assert phone.take().text == "where to?"
        udp.assert_untouched(0.1)
        tcp.assert_untouched(0)


@pytest.mark.req("A-15", "A-16")
@pytest.mark.parametrize("path", ["<sip:127.0.0.1:{port};lr>", "<sip:127.0.0.1:{port};transport=tcp;lr>"])
def test_a15_no_connection_is_made_to_a_path(lab: Fort, account: Account, make_phone: MakePhone, path: str) -> None:
    """RFC 3327: what is written into Path is told back, not connected to."""
    with listening() as udp, listening("tcp") as tcp:
        phone = make_phone(account)
        port = tcp.address[1] if "tcp" in path else udp.address[1]
        draft = phone.register_draft(f"<{phone.contact}>").add("Supported", "path").add("Path", path.format(port=port))
        answer = phone.authenticated(draft)
        if answer.status == 200:
            lab.sms(account.did, "by which way?")
            assert phone.take().text == "by which way?"
        udp.assert_untouched(0.1)
        tcp.assert_untouched(0)


@pytest.mark.req("A-16")
@pytest.mark.parametrize("whose", ["aor", "our address", "another account"])
def test_a16_a_contact_that_leads_back_makes_no_loop(lab: Fort, account: Account, phone: Phone, whose: str) -> None:
    """To ourselves: the message goes to the phone, by its flow, once; nothing goes round."""
    kind = "ws" if phone.wire.name.startswith("ws") else phone.wire.name
    uri = {
        "aor": phone.aor, "our address": f"sip:{account.name}@127.0.0.1:{lab.ports[phone.wire.name]};transport={kind}",
        "another account": f"sip:{lab.account().name}@{phone.domain}",
    }[whose]  # fmt: skip
    answer = phone.authenticated(phone.register_draft(f"<{uri}>"))
    if answer.status != 200:
        assert refused(answer)
        return
    lab.sms(account.did, "round and round")
    assert phone.take().text == "round and round"
    phone.assert_silent(0.2)
    assert len(lab.rows(account.did)) == 1


@pytest.mark.req("A-16")
def test_a16_two_phones_that_answer_each_other_multiply_no_message(lab: Fort, make_phone: MakePhone) -> None:
    """A's phone answers each message with one to B, and B's with one to A: each is one message, nothing multiplies."""
    one, other = lab.account(), lab.account()
    phones = make_phone(one, "tcp"), make_phone(other, "tcp")
    for phone in phones:
        phone.register()
    signed = phones[0].signed(phones[0].message_draft(other.name, "ping"))
    phones[0].send(signed)
    phones[1].take()
    assert phones[0].response_to(signed).status in (200, 202)
    for phone in phones:
        phone.assert_silent(0.1)


# --- what goes out ---------------------------------------------------------------------------------------------------

OUTWARD = [
    "a\r\nX-Injected: yes",
    "a\r\n\r\nMESSAGE sip:x@y SIP/2.0\r\n\r\n",
    "a\nb",
    "a\rb",
    "nul\0byte",
    "line\u2028sep",
    "par\u2029sep",
    "next\x85line",
    "\ufeffbom",
    '"quoted\\"',
    "tab\there",
    "%0d%0aX: y",
]


@pytest.mark.req("A-31")
def test_a31_an_sms_cannot_add_a_sip_header(lab: Fort, account: Account, phone: Phone) -> None:
    """What comes from the telephone network reaches the phone as one message with that text."""
    phone.register()
    for text in OUTWARD:
        lab.sms(account.did, text)
        request = phone.take()
        assert request.method == "MESSAGE"
        assert int(request.get("content-length") or len(request.body)) == len(request.body)
        assert not request.has("x-injected")
        kept = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\0", "\ufffd")
        assert request.text.replace("\r\n", "\n") == kept
    phone.assert_silent(0.1)


@pytest.mark.req("A-31")
def test_a31_a_text_cannot_add_an_http_field_or_request(lab: Fort, account: Account, make_phone: MakePhone) -> None:
    """What a phone writes reaches the carrier as one field of one request, or is refused."""
    phone = make_phone(account, "tcp")
    signer = Signer(phone)
    texts = [f"good {text}" for text in OUTWARD]
    taken = [text for text in texts if signer.ask(phone.message_draft(HANDSET, text)).status == 202]
    assert len(taken) >= len(texts) - 1
    lab.wait(lambda: len(sent(lab, account)) == len(taken))
    for one in sent(lab, account):
        assert set(one.json) == {"from", "to", "text"}
        assert "x-injected" not in one.headers
    plain = sorted(one.json["text"].replace("\r\n", "\n") for one in sent(lab, account))
    assert plain == sorted(text.replace("\r\n", "\n") for text in taken)


@pytest.mark.req("A-32")
def test_a32_digits_of_other_scripts_are_refused(lab: Fort, account: Account, make_phone: MakePhone) -> None:
    phone = make_phone(account, "tcp")
    signer = Signer(phone)
    plain = HANDSET
    for zero in ("\uff10", "\u0660", "\u06f0", "\u0966", "\U0001d7d8"):
        odd = "".join(chr(ord(zero) + int(digit)) for digit in plain)
        for user in (odd, odd[:1] + plain[1:], "".join(f"%{byte:02X}" for byte in odd.encode())):
            assert refused(signer.ask(phone.message_draft(user, "bad")))
    for mark in ("\u202e", "\u200b", "\u0301", "\u2066"):
        assert refused(signer.ask(phone.message_draft(mark + plain, "bad")))
        assert refused(signer.ask(phone.message_draft(plain + "".join(f"%{b:02X}" for b in mark.encode()), "bad")))
    assert lab.rows(account.did) == []


@pytest.mark.req("A-32")
def test_a32_texts_of_all_kinds_are_kept(lab: Fort, account: Account, make_phone: MakePhone) -> None:
    phone = make_phone(account, "tcp")
    phone.register()
    signer = Signer(phone)
    texts = [
        "good \u202eevil\u202c",
        "good a" + "\u0301" * 150,
        "good \U0001f468\u200d\U0001f469\u200d\U0001f467",
        "good \u200b\ufeff",
    ]
    for text in texts:
        assert signer.ask(phone.message_draft(HANDSET, text)).status == 202
        lab.sms(account.did, text)
        assert phone.take().text == text
    assert [row["text"] for row in lab.rows(account.did) if row["direction"] == "out"] == texts
    assert refused(signer.ask(phone.message_draft(HANDSET, b"bad \xed\xa0\x80")))
    assert refused(signer.ask(phone.message_draft(HANDSET, "good a" + "\u0301" * 10_000)))
