"""SUBSCRIBE, PUBLISH and NOTIFY on the wire: C-125, C-126, A-02, A-07 (reliability plan, section 2.8)."""

from __future__ import annotations

import re

import pytest

from tests.support.sip.wire import Draft, Incoming, Phone, listening, param, token

from .conftest import MakePhone
from .lab import Account, Lab

PIDF = "application/pidf+xml"
PACKAGES = [
    "presence", "presence.winfo", "dialog", "message-summary", "reg", "conference", "refer", "as-feature-event",
    "call-completion", "kpml", "ua-profile", "xcap-diff", "vq-rtcpxr",
]  # fmt: skip


def document(name: str, basic: str) -> bytes:
    return (
        f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:{name}@sip.example.net">'
        f'<tuple id="x"><status><basic>{basic}</basic></status></tuple></presence>'
    ).encode()


def subscribe_draft(phone: Phone, user: str, expires: int = 600, event: str = "presence") -> Draft:
    draft = phone.draft("SUBSCRIBE", f"sip:{user}@{phone.domain}").add("Event", event).add("Expires", str(expires))
    return draft.add("Contact", f"<{phone.contact};x=y>").add("Accept", PIDF)


def publish_draft(phone: Phone, body: bytes = b"", expires: int = 600, etag: str = "") -> Draft:
    draft = phone.draft("PUBLISH", phone.aor, body, PIDF).add("Event", "presence").add("Expires", str(expires))
    return draft.add("SIP-If-Match", etag) if etag else draft


def basic(notify: Incoming) -> str:
    match = re.search(rb"<basic>(\w+)</basic>", notify.body)
    assert match, notify.raw
    return match[1].decode()


class Watch:
    """A subscription as its subscriber sees it."""

    def __init__(self, phone: Phone, user: str, expires: int = 600) -> None:
        self.phone = phone
        self.draft = phone.signed(subscribe_draft(phone, user, expires))
        self.response = phone.ask(self.draft)
        assert self.response.status == 200, self.response.raw
        self.tag = param(self.response.get("to"), "tag")
        self.target = self.response.get("contact").strip("<>")
        self.cseq = 0

    def notified(self, seconds: float = 3.0, status: int = 200) -> Incoming:
        """The next NOTIFY, checked and answered."""
        notify = self.phone.request(seconds)
        self.phone.answer(notify, status)
        self.check(notify)
        return notify

    def check(self, notify: Incoming) -> None:
        """RFC 6665 sections 4.1.3 and 4.2.2: of this dialog, in order."""
        assert notify.method == "NOTIFY"
        assert notify.uri == f"{self.phone.contact};x=y"
        assert notify.call_id == self.draft.call_id
        assert param(notify.get("from"), "tag") == self.tag
        assert param(notify.get("to"), "tag") == param(self.draft.get("From"), "tag")
        assert notify.get("event") == self.draft.get("Event")
        assert re.fullmatch(r"<sip:[^>]+>", notify.get("contact"))
        assert notify.get("subscription-state")
        assert notify.cseq > self.cseq
        self.cseq = notify.cseq

    def again(self, expires: int, seconds: float = 3.0) -> Incoming:
        """A SUBSCRIBE in the dialog, challenged anew."""
        draft = self.draft.next().drop("Proxy-Authorization").set("Expires", str(expires))
        draft.uri = self.target
        draft.set("To", f"{self.draft.get('To')};tag={self.tag}")
        signed = self.phone.signed(draft)
        self.draft = signed.copy().set("To", self.draft.get("To"))
        return self.phone.ask(signed, seconds)


def state(notify: Incoming) -> str:
    return notify.get("subscription-state").partition(";")[0]


# --- strangers -------------------------------------------------------------------------------------------------------


@pytest.mark.req("A-02", "C-126")
@pytest.mark.parametrize("method", ["SUBSCRIBE", "PUBLISH"])
def test_a02_without_credentials(lab: Lab, account: Account, phone: Phone, method: str) -> None:
    """Every package: a challenge, and nothing else comes out, to nobody."""
    with listening() as third:
        for package in PACKAGES:
            draft = phone.draft(method, f"sip:{account.name}@{phone.domain}").add("Event", package)
            draft.add("Contact", f"<sip:x@127.0.0.1:{third.address[1]}>").add("Expires", "600")
            response = phone.ask(draft)
            assert response.status == 407
            assert not response.has("contact")
        phone.assert_silent()
        third.assert_untouched(0.05)


@pytest.mark.req("A-02")
def test_a02_notify(lab: Lab, account: Account, phone: Phone) -> None:
    """CVE-2026-57191: a long Message-Account. Nobody has subscribed to anything: 481, with credentials as without."""
    for package in PACKAGES:
        body = b"Messages-Waiting: yes\r\nMessage-Account: sip:" + b"a" * 600 + b"@x\r\n"
        draft = phone.draft("NOTIFY", phone.aor, body, "application/simple-message-summary")
        draft.add("Event", package).add("Subscription-State", "active").add("Contact", f"<{phone.contact}>")
        assert phone.ask(draft).status == 481
    challenged = phone.ask(phone.message_draft("5554443001"))
    assert phone.ask(phone.authorise(draft, challenged)).status == 481
    phone.assert_silent()


@pytest.mark.req("A-07", "C-126")
def test_no_oracle(lab: Lab, account: Account, phone: Phone) -> None:
    """Another customer's account, none, one that is switched off: the same answer, and the same to strangers."""
    other, off = lab.account(), lab.account()
    lab.cli("account", "set", off.name, "--no-presence")
    answers = set()
    for name in (other.name, other.sub, off.name, "no-such-account", "100001"):
        assert phone.ask(subscribe_draft(phone, name)).status == 407
        response = phone.authenticated(subscribe_draft(phone, name))
        answers.add((response.status, response.get("warning"), tuple(response.names)))
    assert len(answers) == 1
    assert answers.pop()[0] == 403
    phone.assert_silent()


@pytest.mark.req("C-112")
def test_a_foreign_domain(phone: Phone) -> None:
    for method in ("SUBSCRIBE", "PUBLISH"):
        draft = phone.draft(method, f"sip:{phone.name}@elsewhere.example").add("Event", "presence")
        assert phone.authenticated(draft.add("Contact", f"<{phone.contact}>")).status == 403


def test_options_tell(phone: Phone) -> None:
    response = phone.ask(phone.options())
    assert response.get("allow-events") == "presence"
    assert {"SUBSCRIBE", "PUBLISH"} <= set(re.split(r",\s*", response.get("allow")))
    assert PIDF in response.get("accept")


# --- SUBSCRIBE -------------------------------------------------------------------------------------------------------


@pytest.mark.req("C-126")
def test_c126_subscribe(lab: Lab, account: Account, phone: Phone) -> None:
    """200 with Contact, Expires and our tag; NOTIFY active at once; Expires 0: NOTIFY terminated, then no dialog."""
    watch = Watch(phone, account.sub)
    assert watch.tag
    assert watch.response.get("expires") == "600"
    first = watch.notified()
    assert state(first) == "active"
    assert 590 <= int(param(first.get("subscription-state"), "expires")) <= 600
    assert (first.get("content-type"), basic(first)) == (PIDF, "closed")
    assert watch.again(300).status == 200
    assert state(watch.notified()) == "active"
    ended = watch.again(0)
    assert (ended.status, ended.get("expires")) == (200, "0")
    assert watch.notified().get("subscription-state") == "terminated;reason=timeout"
    assert watch.again(300).status == 481
    phone.assert_silent()


@pytest.mark.req("C-126")
def test_c126_a_single_look(account: Account, phone: Phone) -> None:
    watch = Watch(phone, account.sub, 0)
    notify = watch.notified()
    assert notify.get("subscription-state") == "terminated;reason=timeout"
    assert basic(notify) == "closed"
    assert watch.again(300).status == 481


@pytest.mark.req("C-126")
@pytest.mark.parametrize(
    ("name", "value", "status", "header"),
    [
        ("Event", "dialog", 489, ("allow-events", "presence")),
        ("Accept", "application/xpidf+xml", 406, ("accept", PIDF)),
        ("Expires", "5", 423, ("min-expires", "60")),
        ("To", "<sip:x@sip.example.net>;tag=none", 481, None),
    ],
)
def test_c126_refusals(
    account: Account, udp_phone: Phone, name: str, value: str, status: int, header: tuple[str, str] | None
) -> None:
    response = udp_phone.authenticated(subscribe_draft(udp_phone, account.sub).set(name, value))
    assert response.status == status
    if header is not None:
        assert response.get(header[0]) == header[1]
    udp_phone.assert_silent(0.1)


@pytest.mark.req("C-126", "S-084", "S-087")
@pytest.mark.parametrize("number", ["5554443001", "15554443001", "+15554443001"])
def test_a_number_is_there(udp_phone: Phone, number: str) -> None:
    """What Zoiper for desktops asks before it lets anybody write."""
    assert basic(Watch(udp_phone, number).notified()) == "open"


@pytest.mark.req("C-126")
def test_own_switch(lab: Lab, account: Account, phone: Phone) -> None:
    lab.cli("account", "set", account.name, "--no-presence")
    lab.wait(lambda: phone.authenticated(subscribe_draft(phone, "5554443001")).status == 403)
    assert phone.authenticated(publish_draft(phone, document(account.name, "open"))).status == 403


@pytest.mark.req("C-126", "C-041")
def test_a_retransmission_is_no_second_subscription(account: Account, udp_phone: Phone) -> None:
    watch = Watch(udp_phone, account.sub)
    watch.notified()
    udp_phone.send(watch.draft)
    copy = udp_phone.response_to(watch.draft)
    assert copy.raw == watch.response.raw
    udp_phone.assert_silent()


@pytest.mark.req("C-126")
def test_record_route(account: Account, udp_phone: Phone) -> None:
    """RFC 3261 section 12.1.1: back in the 200, and as Route in each NOTIFY; sent to where the SUBSCRIBE came from."""
    with listening() as proxy:
        route = f"<sip:127.0.0.1:{proxy.address[1]};lr>"
        signed = udp_phone.signed(subscribe_draft(udp_phone, account.sub).add("Record-Route", route))
        udp_phone.send(signed)
        response = udp_phone.wire.receive()
        assert (response.status, response.all("record-route")) == (200, [route])
        notify = udp_phone.request()
        udp_phone.answer(notify)
        assert notify.all("route") == [route]
        proxy.assert_untouched(0.05)


@pytest.mark.req("A-02", "D5")
def test_contact_is_no_destination(account: Account, phone: Phone) -> None:
    """The Contact is somebody else: the NOTIFY comes here all the same."""
    with listening() as third:
        contact = f"<sip:victim@127.0.0.1:{third.address[1]}>"
        assert phone.authenticated(subscribe_draft(phone, account.sub).set("Contact", contact)).status == 200
        notify = phone.request()
        assert notify.uri == contact.strip("<>")
        phone.answer(notify)
        third.assert_untouched(0.05)


# --- what is told ----------------------------------------------------------------------------------------------------


@pytest.mark.req("C-126")
def test_a_binding_comes_and_goes(account: Account, phone: Phone, make_phone: MakePhone, transport: str) -> None:
    other = make_phone(account.sub, transport)
    watch = Watch(phone, account.sub)
    assert basic(watch.notified()) == "closed"
    other.register()
    assert basic(watch.notified()) == "open"
    other.register()  # a refresh is no news
    phone.assert_silent()
    other.register("*", expires=0)
    assert basic(watch.notified()) == "closed"


@pytest.mark.req("C-126")
def test_a_connection_is_closed(account: Account, udp_phone: Phone, make_phone: MakePhone) -> None:
    other = make_phone(account.sub, "tcp")
    other.register()
    watch = Watch(udp_phone, account.sub)
    assert basic(watch.notified()) == "open"
    other.close()
    assert basic(watch.notified()) == "closed"


@pytest.mark.req("C-125", "C-126")
def test_a_publication_is_told(account: Account, phone: Phone, make_phone: MakePhone, transport: str) -> None:
    """As bytes; and it is over with its removal."""
    other = make_phone(account.sub, transport)
    watch = Watch(phone, account.sub)
    assert basic(watch.notified()) == "closed"
    body = document(account.sub, "open").replace(b"</presence>", b"<note>at lunch</note></presence>")
    response = other.authenticated(publish_draft(other, body))
    assert (response.status, response.get("expires")) == (200, "600")
    assert watch.notified().body == body
    assert other.authenticated(publish_draft(other, expires=0, etag=response.get("sip-etag"))).status == 200
    assert basic(watch.notified()) == "closed"


@pytest.mark.req("C-125")
def test_c125_publish(account: Account, phone: Phone) -> None:
    """Initial, refresh, modify, remove: a new entity-tag on each 200; what is wrong is refused as RFC 3903 says."""
    open_, closed = document(account.name, "open"), document(account.name, "closed")
    tags = [token()]
    for body, expires in ((open_, 600), (b"", 600), (closed, 600), (b"", 0)):
        wrong = phone.authenticated(publish_draft(phone, body, expires, tags[0]))
        assert wrong.status == 412
        response = phone.authenticated(publish_draft(phone, body, expires, tags[-1] if len(tags) > 1 else ""))
        assert (response.status, response.get("expires")) == (200, str(expires))
        tags.append(response.get("sip-etag"))
    assert all(tags)
    assert len(set(tags)) == 5
    unknown = phone.authenticated(publish_draft(phone, open_).set("Event", "dialog"))
    assert (unknown.status, unknown.get("allow-events")) == (489, "presence")
    brief = phone.authenticated(publish_draft(phone, open_, 5))
    assert (brief.status, brief.get("min-expires")) == (423, "60")


@pytest.mark.req("C-125")
@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("text/plain", b"open", 415),
        (PIDF, b"no xml", 400),
        (PIDF, b"<!DOCTYPE x [<!ENTITY y 'z'>]><presence>&y;</presence>", 400),
        (PIDF, b"<presence>" + b" " * 9000 + b"</presence>", 413),
    ],
)
def test_c125_bodies(tcp_phone: Phone, content_type: str, body: bytes, status: int) -> None:
    draft = publish_draft(tcp_phone, body).set("Content-Type", content_type)
    assert tcp_phone.authenticated(draft).status == status


@pytest.mark.req("C-125")
def test_c125_of_somebody_else(account: Account, phone: Phone) -> None:
    draft = publish_draft(phone, document(account.sub, "open"))
    draft.uri = f"sip:{account.sub}@{phone.domain}"
    assert phone.authenticated(draft).status == 403


@pytest.mark.req("C-126")
def test_the_switch_is_turned_off(lab: Lab, account: Account, phone: Phone) -> None:
    """The watcher learns that it is over, and no state."""
    watch = Watch(phone, account.sub)
    watch.notified()
    lab.cli("account", "set", account.sub, "--no-presence")
    last = watch.notified(5)
    assert last.get("subscription-state") == "terminated;reason=rejected"
    assert last.body == b""
    assert phone.authenticated(subscribe_draft(phone, account.sub)).status == 403
    assert watch.again(300).status == 481


# --- how a NOTIFY ends -----------------------------------------------------------------------------------------------


@pytest.mark.req("C-126")
@pytest.mark.parametrize("status", [481, 404, 500])
def test_a_refused_notify_ends_it(account: Account, phone: Phone, status: int) -> None:
    watch = Watch(phone, account.sub)
    watch.notified(status=status)
    assert watch.again(300).status == 481
    phone.assert_silent()


@pytest.mark.req("C-126", "D11")
def test_a_challenged_notify_ends_it(account: Account, udp_phone: Phone) -> None:
    watch = Watch(udp_phone, account.sub)
    notify = udp_phone.request()
    challenge = ("Proxy-Authenticate", 'Digest realm="sip.example.net", nonce="x"')
    udp_phone.answer(notify, 407, "Proxy Authentication Required", challenge)
    assert watch.again(300).status == 481


@pytest.mark.req("C-126")
def test_notify_is_sent_again_and_one_at_a_time(account: Account, udp_phone: Phone, make_phone: MakePhone) -> None:
    """Timer E at 0.5 s; what changes meanwhile is told by one more NOTIFY, as it is then."""
    watch = Watch(udp_phone, account.sub)
    first = udp_phone.request()
    other = make_phone(account.sub)
    other.register()
    other.register("*", expires=0)
    other.register()
    copy = udp_phone.request(1.0)
    assert copy.raw == first.raw
    udp_phone.answer(copy)
    watch.check(first)
    assert basic(watch.notified()) == "open"
    udp_phone.assert_silent()


@pytest.mark.req("C-126")
def test_it_follows_its_subscriber_to_another_connection(
    account: Account, tcp_phone: Phone, make_phone: MakePhone
) -> None:
    """A refresh by a new flow: the next NOTIFY comes by that."""
    watch = Watch(tcp_phone, account.sub)
    watch.notified()
    fresh = make_phone(account, "tcp")
    watch.phone, old = fresh, watch.phone
    watch.draft.set("Contact", f"<{fresh.contact};x=y>").set("Via", fresh.via())
    assert watch.again(300).status == 200
    old.close()
    watch.notified()
    other = make_phone(account.sub)
    other.register()
    assert basic(watch.notified()) == "open"


@pytest.mark.req("C-126")
def test_a_dead_connection_ends_it(lab: Lab, account: Account, tcp_phone: Phone, make_phone: MakePhone) -> None:
    watch = Watch(tcp_phone, account.sub)
    watch.notified()
    tcp_phone.close()
    make_phone(account.sub).register()
    lab.wait(lambda: [one for one in lab.events("notify_failed") if one["watcher"] == account.name])
    watch.phone = fresh = make_phone(account, "tcp")
    watch.draft.set("Via", fresh.via())
    assert watch.again(300).status == 481


@pytest.mark.req("C-126")
def test_the_dialog_is_its_account_s(lab: Lab, account: Account, udp_phone: Phone, make_phone: MakePhone) -> None:
    """Somebody who knows all tags but has another password ends nothing."""
    watch = Watch(udp_phone, account.sub)
    watch.notified()
    draft = watch.draft.next().drop("Proxy-Authorization").set("Expires", "0")
    draft.set("To", f"{watch.draft.get('To')};tag={watch.tag}").set("CSeq", "100 SUBSCRIBE")
    lab.wait(lambda: lab.metric("sipsms_subscriptions") > 0)
    mallory = make_phone(lab.account())
    assert mallory.authenticated(draft).status == 481
    assert watch.again(300).status == 200
