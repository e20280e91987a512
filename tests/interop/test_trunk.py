"""Carrier `type: sip` against a registrar that says what a test wants."""

from __future__ import annotations

import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.site import HANDSET, Account, Site

from tests.support.node.server import free_port
from tests.support.sip.wire import Incoming, Phone, param

from .upstream import Upstream, answered, challenge, deliveries, logged, ok, phone_of, says, silence, texts

pytestmark = pytest.mark.e2e

USER, PASSWORD = "100001_pbx", "tr:unk päss"
MakeSite = Callable[..., Site]


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as one:
        yield one


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[MakeSite]:
    """A server with a trunk `up`, running."""
    made: list[Site] = []

    def make(trunk: dict[str, Any], **settings: Any) -> Site:
        site = Site(tmp_path / "down", accounts=2, **settings, carriers={"up": {"type": "sip", **trunk}})
        made.append(site)
        site.start()
        return site

    yield make
    for site in made:
        site.stop()
        site.no_crash()


def trunk_to(upstream: Upstream, **changes: Any) -> dict[str, Any]:
    plain = {"server": "127.0.0.1", "port": upstream.port, "domain": "up.example"}
    return {**plain, "username": USER, "password": PASSWORD, "timeout": 2, **changes}


# --- registering ------------------------------------------------------------------------------------------------------


@pytest.mark.req("S-011", "S-079", "S-091")
@pytest.mark.parametrize(
    "kind",
    [', algorithm=MD5, qop="auth"', ', algorithm=SHA-256, qop="auth,auth-int"', "", ", algorithm=MD5-sess, qop=auth"],
)
def test_registers_with_user_and_password(upstream: Upstream, make_site: MakeSite, kind: str) -> None:
    upstream.script(challenge(extra=kind), ok)
    site = make_site(trunk_to(upstream))
    first, second = upstream.registration(), upstream.registration()
    assert not first.has("authorization")
    assert answered(second, USER, PASSWORD).get("opaque") == "o=1"
    assert (first.uri, first.get("to")) == ("sip:up.example", f"<sip:{USER}@up.example>")
    assert (second.call_id, second.cseq) == (first.call_id, first.cseq + 1)
    assert re.match(rf"<sip:trunk-[0-9a-f]{{32}}@127\.0\.0\.1:{site.sip_port}>;expires=600;", second.get("contact"))
    assert logged(site, "trunk_registered")["carrier"] == "up"


def test_how_it_is_can_be_seen(upstream: Upstream, make_site: MakeSite) -> None:
    site = make_site(trunk_to(upstream))

    def why() -> str:
        return str(site.listed("carriers")[0]["why"])

    site.wait(lambda: why().startswith("registered until "), 20)


def test_a_refused_password_is_not_tried_again_and_again(upstream: Upstream, make_site: MakeSite) -> None:
    """Two requests and a long rest; what is to be sent waits."""
    nonces = iter(range(100))
    upstream.default = lambda request: challenge(f"n{next(nonces)}")(request)
    site = make_site(trunk_to(upstream))
    assert not upstream.registration().has("authorization")
    answered(upstream.registration(), USER, PASSWORD)
    assert logged(site, "trunk_not_registered")["why"] == "401 Unauthorized"
    account = site.account()
    with phone_of(site, account) as phone:
        assert phone.message(HANDSET, "wait for the password").status == 202
    row = site.settled(account.did, "wait for the password", "queued")
    site.wait(lambda: "not registered: 401" in str(site.listed("queue")), 10)
    assert row["carrier"] in ("", "up")
    assert upstream.registers.empty()
    assert upstream.messages.empty()


def test_a_longer_time_is_asked_for(upstream: Upstream, make_site: MakeSite) -> None:
    upstream.script(says(423, "Interval Too Brief", ("Min-Expires", "1800")))
    make_site(trunk_to(upstream))
    assert upstream.registration().get("expires") == "600"
    again = upstream.registration()
    assert (again.get("expires"), param(again.get("contact"), "expires")) == ("1800", "1800")


def test_a_stale_nonce_and_a_short_registration(upstream: Upstream, make_site: MakeSite) -> None:
    """The nonce of before is used unasked, counts on, and is replaced when it is stale."""
    upstream.script(
        challenge("n1"),
        says(200, "OK", ("Expires", "2")),
        says(200, "OK", ("Expires", "2")),
        challenge("n2", ', algorithm=MD5, qop="auth", stale=true'),
        ok,
    )
    make_site(trunk_to(upstream))
    upstream.registration()
    said = [answered(upstream.registration(), USER, PASSWORD) for _ in range(4)]
    assert [(one["nonce"], int(one["nc"], 16)) for one in said] == [("n1", 1), ("n1", 2), ("n1", 3), ("n2", 1)]


@pytest.mark.req("D11", "C-095")
def test_odd_answers(upstream: Upstream, make_site: MakeSite) -> None:
    """A redirection is not followed, silence is not an end; Retry-After is kept to."""
    upstream.script(
        says(302, "Moved", ("Contact", "<sip:127.0.0.1:9>")), silence, says(503, "Busy", ("Retry-After", "1"))
    )
    site = make_site(trunk_to(upstream))
    whys = [logged(site, "trunk_not_registered", n)["why"] for n in (1, 2)]
    assert whys[0] == "302 Moved"
    assert whys[1].startswith("no answer")
    assert {upstream.registration(20).uri for _ in range(3)} == {"sip:up.example"}


@pytest.mark.req("S-091")
def test_signs_off_at_the_end_and_on_reload(upstream: Upstream, make_site: MakeSite) -> None:
    site = make_site(trunk_to(upstream))
    contact = upstream.registration().get("contact")
    logged(site, "trunk_registered")
    site.signal(signal.SIGHUP)
    logged(site, "reloaded")
    assert upstream.registers.empty(), "nothing has changed"
    changed = {**site.settings, "carriers": {"up": {"type": "sip", **trunk_to(upstream, dids=["5550010001"])}}}
    site.write_config(**changed)
    site.signal(signal.SIGHUP)
    again = upstream.registration()
    assert (again.get("contact"), param(again.get("contact"), "expires")) == (contact, "600")
    assert logged(site, "trunk_registered", 2)
    assert site.stop() == 0
    last = upstream.registration()
    assert (last.get("expires"), param(last.get("contact"), "expires")) == ("0", "0")


def test_a_trunk_that_is_removed_signs_off(upstream: Upstream, make_site: MakeSite) -> None:
    site = make_site(trunk_to(upstream))
    upstream.registration()
    logged(site, "trunk_registered")
    site.write_config(**{**site.settings, "carriers": {"sim": {"type": "loopback"}}})
    site.signal(signal.SIGHUP)
    assert upstream.registration().get("expires") == "0"


def test_a_server_without_a_udp_listener(upstream: Upstream, make_site: MakeSite, tmp_path: Path) -> None:
    """The trunk has a socket of its own."""
    port, http = free_port(), free_port()
    listen = {"sip": [f"tcp://127.0.0.1:{port}"], "http": f"http://127.0.0.1:{http}"}
    site = Site(tmp_path / "down", 2, listen=listen, carriers={"up": {"type": "sip", **trunk_to(upstream)}})
    site.http_port = http
    with site:
        contact = upstream.registration().get("contact")
        logged(site, "trunk_registered")
        account = site.account()
        upstream.deliver(contact, "by its own socket", ("X-SMS-To", account.did))
        assert upstream.reply().status == 200
        assert texts(site, "in") == {"by its own socket": 1}


# --- out --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def down(upstream: Upstream, make_site: MakeSite) -> Site:
    """Registered."""
    site = make_site(trunk_to(upstream))
    upstream.registration()
    logged(site, "trunk_registered")
    return site


def send(site: Site, account: Account, text: str) -> None:
    with phone_of(site, account) as phone:
        assert phone.message(HANDSET, text).status == 202


@pytest.mark.req("S-012", "S-080", "S-081")
def test_a_text_goes_out(upstream: Upstream, down: Site) -> None:
    """RFC 3428, from the DID, with the password when it is asked for; the next text needs not be asked."""
    account = down.account()
    upstream.script(challenge("m1", status=407), says(202, "Accepted"))
    send(down, account, "hällo")
    first, second = upstream.message(), upstream.message()
    assert first.start == f"MESSAGE sip:{HANDSET}@up.example SIP/2.0"
    assert not first.has("proxy-authorization")
    answered(second, USER, PASSWORD)
    assert second.get("from").startswith(f"<sip:{account.did}@up.example>;tag=")
    assert second.get("to") == f"<sip:{HANDSET}@up.example>"
    assert (second.text, second.get("content-type")) == ("hällo", "text/plain;charset=utf-8")
    assert (second.call_id, second.cseq) == (first.call_id, first.cseq + 1)
    assert not second.has("p-asserted-identity")
    row = down.settled(account.did, "hällo", "accepted")
    assert row["carrier_id"] == second.call_id
    send(down, account, "again")
    third = upstream.message()
    assert answered(third, USER, PASSWORD)["nc"] == "00000002"
    assert third.call_id != second.call_id


@pytest.mark.req("S-082")
def test_the_number_as_display_name(upstream: Upstream, make_site: MakeSite) -> None:
    site = make_site(trunk_to(upstream, **{"from": "username", "numbers": "e164"}))
    logged(site, "trunk_registered")
    account = site.account()
    send(site, account, "hi")
    got = upstream.message()
    assert got.uri == f"sip:+1{HANDSET}@up.example"
    assert got.get("from").startswith(f'"+1{account.did}" <sip:{USER}@up.example>;tag=')


@pytest.mark.req("C-095")
@pytest.mark.parametrize(
    ("answer", "state", "why"),
    [
        (says(403, "Forbidden", ("Warning", '399 up.example "caller ID not yours"')), "failed", "caller ID not yours"),
        (says(404, "Not Found"), "failed", "404 Not Found"),
        (says(413, "Too Large"), "failed", "413"),
        (says(603, "Decline"), "failed", "603"),
        (says(302, "Moved", ("Contact", "<sip:127.0.0.1:9>")), "queued", "302 Moved"),
        (says(480, "Away", ("Retry-After", "600")), "queued", "480 Away"),
        (says(503, "Busy", ("Retry-After", "600")), "queued", "503 Busy"),
        (challenge("other", ", algorithm=XYZ", 407), "queued", "refuses our password"),
    ],
)
def test_what_the_server_says(upstream: Upstream, down: Site, answer: Any, state: str, why: str) -> None:
    account = down.account()
    upstream.script(answer)
    send(down, account, "what now")
    upstream.message()
    delivery = down.wait(lambda: [one for one in deliveries(down, "what now") if one["last_error"]], 10)[0]
    assert (delivery["state"], why in delivery["last_error"]) == (state, True), delivery
    assert upstream.messages.empty()


def test_a_start_is_no_outage(upstream: Upstream, make_site: MakeSite) -> None:
    """What waits from before a restart goes out by the trunk, and not by the next carrier, while that registers."""
    hold = threading.Event()
    site = make_site(trunk_to(upstream))
    account = site.account()
    logged(site, "trunk_registered")
    site.cli("carriers", "pause", "up")
    send(site, account, "from before")
    site.stop()
    site.cli("carriers", "resume", "up")

    def late(request: Incoming) -> tuple[int, str, list[tuple[str, str]]]:
        hold.wait(1)
        return ok(request)

    upstream.default = late
    site.start()
    assert upstream.message().text == "from before"
    site.settled(account.did, "from before", "accepted")
    assert deliveries(site, "from before")[0]["attempts"] == 1


@pytest.mark.req("F-24")
def test_no_answer_is_unknown_and_makes_it_register(upstream: Upstream, down: Site) -> None:
    """It may have got through: it is not sent again. The registrar is asked at once whether it is there."""
    account = down.account()
    upstream.script(silence)
    send(down, account, "are you there")
    upstream.message()
    down.settled(account.did, "are you there", "unknown", seconds=10)
    upstream.registration(5)
    assert upstream.messages.empty()


def test_no_answer_of_a_server_that_knows_its_messages(upstream: Upstream, make_site: MakeSite) -> None:
    """Sent again under the same name, with a higher CSeq."""
    site = make_site(trunk_to(upstream, drops_duplicates=True))
    logged(site, "trunk_registered")
    account = site.account()
    upstream.script(silence)
    send(site, account, "once more")
    first, second = upstream.message(), upstream.message(40)
    assert (second.call_id, second.get("x-sms-id")) == (first.call_id, first.get("x-sms-id"))
    assert param(second.get("from"), "tag") == param(first.get("from"), "tag")
    assert second.cseq > first.cseq
    site.settled(account.did, "once more", "accepted")


def test_a_port_that_is_closed_is_not_unknown(make_site: MakeSite) -> None:
    """A gateway that is sent to without registering."""
    port = free_port()
    plain = {"server": "127.0.0.1", "port": port, "username": "goip", "password": "x", "register": False}
    site = make_site(plain)
    account = site.account()
    send(site, account, "nobody home")
    delivery = site.wait(lambda: [one for one in deliveries(site, "nobody home") if one["last_error"]], 10)[0]
    assert (delivery["state"], "unreachable" in delivery["last_error"]) == ("queued", True)


@pytest.mark.req("C-096", "D11")
def test_a_phone_does_not_get_the_trunk_s_password(upstream: Upstream, down: Site) -> None:
    """It challenges with the realm and the nonce of the server that we are registered at."""
    account = down.account()
    upstream.script(challenge("m1", status=407))
    send(down, account, "so that we know a nonce")
    answered([upstream.message(), upstream.message()][1], USER, PASSWORD)
    with phone_of(down, account) as phone:
        down.cli("receive", "--from", HANDSET, "--to", account.did, "for the phone")
        got = phone.request()
        phone.answer(got, 407, "Mine", ("Proxy-Authenticate", 'Digest realm="up", nonce="m1", qop="auth"'))
        assert all(not one.has("proxy-authorization") for one in phone.requests_for(0.5))


# --- in ---------------------------------------------------------------------------------------------------------------


@pytest.mark.req("S-039", "S-090", "S-093")
def test_a_text_comes_in_once(upstream: Upstream, make_site: MakeSite) -> None:
    """To is the account's name, X-SMS-To the number. Whatever the upstream repeats, and after a restart, it is one."""
    site = make_site(trunk_to(upstream))
    account = site.account()
    contact = upstream.registration().get("contact")
    logged(site, "trunk_registered")
    with phone_of(site, account) as phone:
        upstream.deliver(contact, "knock", ("X-SMS-To", f"+1{account.did}"), to=USER, call_id="c1")
        assert upstream.reply().status == 200
        got = phone.take()
        assert (got.text, got.get("x-sms-to")) == ("knock", account.did)
        assert f"sip:{HANDSET}@" in got.get("from")
        upstream.deliver(contact, "knock", ("X-SMS-To", account.did), to=USER, call_id="c1", cseq=2)
        assert upstream.reply().status == 200
        upstream.deliver(contact, "other", ("X-SMS-To", account.did), to=USER, call_id="c1", cseq=3)
        assert upstream.reply().status == 200
        assert phone.take().text == "other"
    site.kill()
    site.start()
    assert upstream.registration().get("contact") == contact, "what the server knows of before is still ours"
    logged(site, "trunk_registered", 2)
    upstream.deliver(contact, "knock", ("X-SMS-To", account.did), to=USER, call_id="c1", cseq=4)
    assert upstream.reply().status == 200
    assert texts(site, "in") == {"knock": 1, "other": 1}


def test_for_which_number(upstream: Upstream, make_site: MakeSite) -> None:
    """X-SMS-To, else To, else the only one; none that is not listed, none that is not here. Notices are swallowed."""
    site = make_site(trunk_to(upstream, dids=["5550010001"]))
    contact = upstream.registration().get("contact")
    logged(site, "trunk_registered")
    typing = ("Content-Type", "application/im-iscomposing+xml")
    cases: list[tuple[str, str, list[tuple[str, str]], int]] = [
        ("named", USER, [("X-SMS-To", "5550010001")], 200), ("to", "15550010001", [], 200), ("only", USER, [], 200),
        ("not listed", USER, [("X-SMS-To", "5550020001")], 488), ("nonsense", USER, [("X-SMS-To", "boo")], 488),
        ("other to", "5550020001", [], 488), ("copy", USER, [("X-SMS-Copy", "sent")], 200),
    ]  # fmt: skip
    for text, to, headers, wanted in cases:
        upstream.deliver(contact, text, *headers, to=to)
        got = upstream.reply()
        assert got.status == wanted, text
        assert got.has("warning") == (wanted == 488)
    upstream.deliver(contact, "<x/>", typing, to=USER)
    assert upstream.reply().status in (200, 400)
    assert texts(site, "in") == {"named": 1, "to": 1, "only": 1}


def test_pieces_are_put_together(upstream: Upstream, down: Site) -> None:
    """As a sipsms sends a long text by UDP."""
    account = down.account()
    with phone_of(down, account) as phone:
        contact = re_register(upstream, down)
        for number in (2, 1):
            upstream.deliver(
                contact, f"part {number} ", ("X-SMS-To", account.did), ("X-SMS-Part", f"{number}/2"),
                call_id=f"long.{number}@up.example",
            )  # fmt: skip
            assert upstream.reply().status == 200
        assert phone.take().text == "part 1 part 2 "


def re_register(upstream: Upstream, site: Site) -> str:
    """The Contact: sign off and on again."""
    site.stop()
    upstream.registration()
    site.start()
    return upstream.registration().get("contact")


@pytest.mark.req("D11")
def test_nobody_else_comes_in_by_it(upstream: Upstream, down: Site) -> None:
    """A wrong name from the right address: a challenge. The right one from a wrong address, or by another way: not now
    (a server that moves has not lost its message). No message in any case."""
    account = down.account()
    contact = re_register(upstream, down)
    logged(down, "trunk_registered", 2)
    wrong = contact.replace("<sip:trunk-", "<sip:trunk-0")
    upstream.deliver(wrong, "guessed", ("X-SMS-To", account.did))
    assert upstream.reply().status == 407
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.2", 0))
        stranger.settimeout(5)
        upstream.deliver(contact, "forged", ("X-SMS-To", account.did), sock=stranger)
        assert stranger.recv(65536).startswith(b"SIP/2.0 503")
    with Phone(down.address, account.name, account.password, "tcp") as phone:  # the right address, another way
        user = re.search("sip:(trunk-[0-9a-f]+)@", contact)[1]  # type: ignore[index]
        assert phone.ask(phone.message_draft(user, "by TCP")).status == 503
    assert down.rows() == []


def test_nothing_comes_in_without_registering(upstream: Upstream, make_site: MakeSite) -> None:
    site = make_site(trunk_to(upstream, register=False, dids=["5550010001"]))
    with Phone(site.address, "x", "y") as phone:
        assert phone.ask(phone.message_draft(USER, "hello")).status == 407
    assert site.rows() == []
    assert upstream.registers.empty()
