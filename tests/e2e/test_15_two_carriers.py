"""Two carriers: they are tried in their order, and a message leaves by one of them, never by both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.node.ledger import Ledger, Sender
from tests.support.node.stub_carrier import HANG_UP, Answer, StubCarrier

from .site import HANDSET, Site

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def stubs() -> Iterator[tuple[StubCarrier, StubCarrier]]:
    with StubCarrier() as first, StubCarrier() as second:
        yield first, second


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory, stubs: tuple[StubCarrier, StubCarrier]) -> Iterator[Site]:
    names = dict(zip(("first", "second"), stubs, strict=True))
    carriers = {name: {"type": "http", "url": stub.url, "ok": {"id": "data.id"}} for name, stub in names.items()}
    queue = {"retry_min": "200ms", "retry_max": "1s"}
    with Site(tmp_path_factory.mktemp("site"), carriers=carriers, queue=queue) as site:
        yield site


@pytest.fixture(autouse=True)
def fresh(stubs: tuple[StubCarrier, StubCarrier]) -> Iterator[None]:
    for stub in stubs:
        stub.taken.clear()
    yield
    for stub in stubs:
        if stub._server is None:
            stub.start()


async def send(site: Site, tmp_path: Path, text: str, *states: str) -> dict[str, object]:
    """From a fresh account; the message once it is in one of these states."""
    account = site.account()
    sender = Sender(site.address, account.name, account.password, Ledger(tmp_path / "ledger.jsonl"))
    assert await sender.send(HANDSET, text) == 202
    sender.close()
    return site.settled(account.did, text, *states)


def texts(stub: StubCarrier) -> list[str]:
    return [taken.json["text"] for taken in stub.taken]


@pytest.mark.req("S-135", "I2")
async def test_the_first_carrier_takes_the_message(
    site: Site, stubs: tuple[StubCarrier, StubCarrier], tmp_path: Path
) -> None:
    row = await send(site, tmp_path, "one way", "accepted")
    await send(site, tmp_path, "another", "accepted")
    assert texts(stubs[0]) == ["one way", "another"]
    assert texts(stubs[1]) == []
    assert row["carrier"] == "first"


@pytest.mark.req("S-135")
async def test_refused_by_the_first_it_goes_by_the_second(
    site: Site, stubs: tuple[StubCarrier, StubCarrier], tmp_path: Path
) -> None:
    stubs[0].script(Answer(400))
    row = await send(site, tmp_path, "second best", "accepted")
    assert row["carrier"] == "second"
    assert (texts(stubs[0]), texts(stubs[1])) == (["second best"], ["second best"])


@pytest.mark.req("S-135")
async def test_with_the_first_away_it_goes_by_the_second(
    site: Site, stubs: tuple[StubCarrier, StubCarrier], tmp_path: Path
) -> None:
    stubs[0].stop()
    row = await send(site, tmp_path, "detour", "accepted")
    assert row["carrier"] == "second"
    assert texts(stubs[1]) == ["detour"]


@pytest.mark.req("I2")
async def test_perhaps_taken_by_the_first_it_stays_there(
    site: Site, stubs: tuple[StubCarrier, StubCarrier], tmp_path: Path
) -> None:
    """`unknown` is not a reason to try another: it may have been sent."""
    while not stubs[0].taken:  # until it is noticed that the first is back
        await send(site, tmp_path, f"are you there {len(stubs[1].taken)}", "accepted")
    for stub in stubs:
        stub.taken.clear()
    stubs[0].script(HANG_UP)
    await send(site, tmp_path, "perhaps", "unknown")
    await send(site, tmp_path, "afterwards", "accepted")
    assert texts(stubs[0]) == ["perhaps", "afterwards"]
    assert texts(stubs[1]) == []
