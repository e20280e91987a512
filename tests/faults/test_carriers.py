"""Carriers that fail in all their ways, on a real server: nothing lost, nothing sent twice, and it is told."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.node.ledger import Ledger, Sender
from tests.support.node.stub_carrier import HANG_UP, Answer, StubCarrier

from .conftest import MakeSite

pytestmark = pytest.mark.e2e


async def send_all(site: Any, ledger: Ledger, texts: list[str]) -> None:
    """Each to a number of its own, from one phone."""
    account = site.account()
    sender = Sender(site.address, account.name, account.password, ledger)
    for index, text in enumerate(texts):
        assert await sender.send(f"21255{index:05}", text) == 202
    sender.close()


def states(site: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in site.rows():
        found.setdefault(row["state"], []).append(row["text"])
    return found


@pytest.mark.req("F-10", "S-135")
async def test_a_carrier_that_is_down_and_back_gets_every_message_once(
    make_site: MakeSite, stub: StubCarrier, carried: dict[str, Any], tmp_path: Path
) -> None:
    """Down for a while: the queue grows, nobody is refused; back again, all of it leaves, once, and at full rate."""
    site = make_site(**carried)
    with site:
        ledger = Ledger(tmp_path / "ledger", stub)
        stub.stop()
        texts = [f"patience {n}" for n in range(60)]
        await send_all(site, ledger, texts)
        attempts = len(site.events("deferred"))
        assert attempts < 60, "the breaker keeps most of them from trying in vain"
        (row,) = [one for one in site.listed("carriers") if one["name"] == "acme"]
        assert row["waiting"] == 60
        stub.start()
        site.wait(lambda: len(states(site).get("accepted", [])) == 60, 30)
        assert sorted(ledger.submitted) == sorted(texts)
        site.no_crash()


@pytest.mark.req("F-11", "F-12")
async def test_a_carrier_that_never_answers_gets_only_a_few_messages(
    make_site: MakeSite, stub: StubCarrier, carried: dict[str, Any], tmp_path: Path
) -> None:
    """A few are in doubt, then nothing more is tried until one has gone well; the doubtful stay as they are."""
    site = make_site(**carried)
    with site:
        ledger = Ledger(tmp_path / "ledger", stub)
        stub.default = HANG_UP
        texts = [f"doubt {n}" for n in range(12)]
        await send_all(site, ledger, texts)
        site.wait(lambda: len(states(site).get("unknown", [])) >= 3)
        stub.default = Answer()
        site.wait(lambda: len(states(site).get("accepted", [])) + len(states(site).get("unknown", [])) == 12, 30)
        assert sorted(ledger.submitted) == sorted(texts), "each reached the carrier exactly once"
        assert len(site.listed("queue", "--unknown")) == len(states(site)["unknown"])
        site.no_crash()


@pytest.mark.req("F-11")
async def test_an_answer_after_the_timeout_leaves_the_delivery_unknown(
    make_site: MakeSite, stub: StubCarrier, carried: dict[str, Any], tmp_path: Path
) -> None:
    carried["carriers"]["acme"]["timeout"] = "500ms"
    site = make_site(**carried)
    with site:
        ledger, hold = Ledger(tmp_path / "ledger", stub), threading.Event()
        stub.script(Answer(before=lambda: hold.wait(2)))
        await send_all(site, ledger, ["slow", "quick"])
        site.wait(lambda: states(site) == {"unknown": ["slow"], "accepted": ["quick"]})
        hold.set()
        assert ledger.submitted.count("slow") == 1


@pytest.mark.req("F-12")
@pytest.mark.parametrize("body", [b"<html>", b"", b'{"data": {"id"', b"\xff\xfe" * 100])
async def test_an_unreadable_answer_leaves_the_delivery_unknown(
    make_site: MakeSite, stub: StubCarrier, carried: dict[str, Any], tmp_path: Path, body: bytes
) -> None:
    site = make_site(**carried)
    with site:
        ledger = Ledger(tmp_path / "ledger", stub)
        stub.script(Answer(200, body))
        await send_all(site, ledger, ["nonsense"])
        site.wait(lambda: states(site) == {"unknown": ["nonsense"]})
        assert len(ledger.submitted) == 1


@pytest.mark.req("F-12")
async def test_half_an_answer_and_a_reset_leave_the_delivery_unknown(
    make_site: MakeSite, carried: dict[str, Any], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[bytes] = []

        def serve() -> None:
            connection, _ = server.accept()
            taken.append(connection.recv(65536))
            connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"data": {"id": "c-')
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # close is a reset
            connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        carried["carriers"]["acme"]["url"] = f"http://127.0.0.1:{server.getsockname()[1]}/"
        site = make_site(**carried)
        with site:
            await send_all(site, Ledger(tmp_path / "ledger"), ["half"])
            site.wait(lambda: states(site) == {"unknown": ["half"]})
        thread.join(5)
        assert len(taken) == 1


@pytest.mark.req("F-12", "F-15")
async def test_a_carrier_that_throttles_gets_every_message_once_and_in_order(
    make_site: MakeSite, stub: StubCarrier, carried: dict[str, Any], tmp_path: Path
) -> None:
    """Every second one is told to come back: all arrive, once, those of one pair of numbers in order."""
    site = make_site(**carried)
    with site:
        ledger = Ledger(tmp_path / "ledger")
        account = site.account()
        sender = Sender(site.address, account.name, account.password, ledger)
        stub.script(*[Answer(429, headers={"Retry-After": "1"}), Answer()] * 10)
        for number in range(20):
            assert await sender.send(f"21255{number % 4:05}", f"{number % 4} {number:02}") == 202
        sender.close()
        site.wait(lambda: len(states(site).get("accepted", [])) == 20, 60)
        taken = [one.json["text"] for one in stub.taken]
        done = sorted(set(taken))
        assert len(done) == 20
        for pair in range(4):
            mine = list(dict.fromkeys(text for text in taken if text.startswith(f"{pair} ")))
            assert mine == sorted(mine)
        site.no_crash()


@pytest.mark.req("F-13")
async def test_a_permanent_refusal_is_tried_once(
    make_site: MakeSite, stub: StubCarrier, carried: dict[str, Any], tmp_path: Path
) -> None:
    site = make_site(**carried)
    with site:
        ledger = Ledger(tmp_path / "ledger", stub)
        stub.script(Answer(400))
        await send_all(site, ledger, ["no"])
        site.wait(lambda: states(site) == {"failed": ["no"]})
        await send_all(site, ledger, ["yes"])
        site.wait(lambda: states(site) == {"failed": ["no"], "accepted": ["yes"]})
        assert ledger.submitted == ["no", "yes"]


@pytest.mark.req("F-20", "G03")
async def test_a_hundred_copies_of_a_webhook_are_one_message(make_site: MakeSite, carried: dict[str, Any]) -> None:
    carried["carriers"]["acme"]["inbound"] = {"secret": "s3cret", "fields": {"id": "id"}}
    site = make_site(**carried)
    with site:
        account = site.account()
        fields = {"from": "4445556666", "to": account.did, "text": "once", "id": "m-1"}
        loop = asyncio.get_running_loop()
        answers = await asyncio.gather(
            *(loop.run_in_executor(None, lambda: site.hook(fields, carrier="acme")) for _ in range(100))
        )
        assert {status for status, _ in answers} == {200}
        assert [row["text"] for row in site.rows(account.did)] == ["once"]


@pytest.mark.req("F-40", "D6")
async def test_an_unknown_message_is_sent_again_only_by_the_operator(
    make_site: MakeSite, stub: StubCarrier, carried: dict[str, Any], tmp_path: Path
) -> None:
    """Not by the next carrier, not after a restart; with the override it does, and the log says who."""
    with StubCarrier() as other:
        carried["carriers"]["second"] = {**carried["carriers"]["acme"], "url": other.url}
        site = make_site(**carried)
        ledger = Ledger(tmp_path / "ledger", stub)
        with site:
            stub.script(HANG_UP)
            await send_all(site, ledger, ["perhaps"])
            site.wait(lambda: states(site) == {"unknown": ["perhaps"]})
        with site:
            (doubt,) = site.listed("queue", "--unknown")
            refused = site.cli("resend", str(doubt["delivery"]), check=False)
            assert refused.returncode == 1
            assert "--may-be-sent-twice" in refused.stderr
            assert ledger.submitted == ["perhaps"]
            site.cli("resend", str(doubt["delivery"]), "--may-be-sent-twice")
            assert [event["destination"] for event in site.events("audit")] == [str(doubt["delivery"])]
            site.wait(lambda: states(site) == {"accepted": ["perhaps"]})
            assert ledger.submitted == ["perhaps", "perhaps"]
            assert site.cli("resend", str(doubt["delivery"]), "--may-be-sent-twice", check=False).returncode == 1
        assert other.taken == []
