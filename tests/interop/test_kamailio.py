"""A real Kamailio, with the files of dialplan/kamailio, as a trunk over UDP and TCP."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e.site import DOMAIN, HANDSET, Account, Site

from tests.support.node.server import free_port
from tests.support.sip.wire import Phone

pytestmark = pytest.mark.e2e

FILES = Path(__file__).parents[2] / "dialplan" / "kamailio"
DID, OTHER_DID, STRAY_DID = "5550001111", "5550002222", "5550004444"
TRUNK = Account("pbx", "s3cret-pbx", DID, "")
PBX = "pbx.example.net"


@dataclass
class Kamailio:
    """A child process in the foreground; its own children end with it."""

    program: str
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def write(self, words: dict[str, str]) -> None:
        shutil.copytree(FILES, self.folder, dirs_exist_ok=True)
        for file in (self.folder / "kamailio.cfg", self.folder / "db" / "uacreg"):
            text = file.read_text()
            for word, value in words.items():
                text = text.replace(word, value)
            file.write_text(text)

    def check(self) -> subprocess.CompletedProcess[str]:
        command = [self.program, "-c", "-f", str(self.folder / "kamailio.cfg")]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    def start(self) -> None:
        command = [self.program, "-DD", "-E", "-f", str(self.folder / "kamailio.cfg"), "-w", str(self.folder)]
        with (self.folder / "output").open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def stop(self) -> None:
        """SIGTERM: it unregisters and ends its children; SIGKILL if it does not."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self.process = None

    @contextmanager
    def phone(self, name: str) -> Iterator[Phone]:
        """One that is registered to Kamailio."""
        with Phone(("127.0.0.1", self.port), name, f"pw-{name}", domain=PBX) as phone:
            phone.register(expires=300)
            yield phone
            phone.register("*", expires=0)


@pytest.fixture(scope="module", params=["udp", "tcp"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def site(transport: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"), 1)
    numbers = [{"number": number} for number in (DID, OTHER_DID)]
    site.import_accounts({"name": TRUNK.name, "password": TRUNK.password, "dids": numbers})
    with site:
        yield site
        site.no_crash()


@pytest.fixture(scope="module")
def kamailio(
    program: Callable[[str], str], site: Site, transport: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kamailio]:
    folder, port = tmp_path_factory.mktemp("kamailio"), free_port()
    kamailio = Kamailio(program("kamailio"), folder, port)
    kamailio.write(
        {
            "SIPSMS_HOST": "127.0.0.1",
            "SIPSMS_ADDRESS": "127.0.0.1",
            "SIPSMS_PORT": str(site.sip_port),
            "SIPSMS_TRANSPORT": transport,
            "SIPSMS_DOMAIN": DOMAIN,
            "SIPSMS_USER": TRUNK.name,
            "SIPSMS_PASSWORD": TRUNK.password,
            "PBX_ADDRESS": f"127.0.0.1:{port}",
            "PBX_DOMAIN": PBX,
            "PHONE_PASSWORD_": "pw-",
            "KAMAILIO_ETC": str(folder),
            "KAMAILIO_RUN": str(folder),
        }
    )
    kamailio.start()
    try:
        site.wait(lambda: site.contacts(TRUNK), 20)
        yield kamailio
    finally:
        kamailio.stop()


def test_the_syntax_is_good(kamailio: Kamailio) -> None:
    done = kamailio.check()
    assert done.returncode == 0, done.stderr
    assert "config file ok" in done.stdout + done.stderr


@pytest.mark.req("S-011", "S-079", "S-091")
def test_registers(kamailio: Kamailio, site: Site) -> None:
    (contact,) = site.contacts(TRUNK)
    assert contact.startswith(f"sip:sms@127.0.0.1:{kamailio.port}")


@pytest.mark.req("S-012", "S-090", "S-093")
def test_an_sms_comes_in(kamailio: Kamailio, site: Site) -> None:
    """By X-SMS-To to the phone of the number; the phone's 200 is what sipsms hears."""
    with kamailio.phone("101") as first, kamailio.phone("102") as second:
        site.sms(DID, "Grüße 👋🏽")
        message = first.take(10)
        assert (message.text, message.get("x-sms-to")) == ("Grüße 👋🏽", DID)
        site.sms(OTHER_DID, "to the second")
        assert second.take(10).text == "to the second"
        site.settled(DID, "Grüße 👋🏽", "delivered")
        site.settled(OTHER_DID, "to the second", "delivered")


@pytest.mark.req("S-012", "S-081")
def test_a_phone_writes_an_sms(kamailio: Kamailio, site: Site) -> None:
    """Its number becomes the caller ID; Kamailio answers the challenge of sipsms for it."""
    with kamailio.phone("102") as phone:
        assert phone.message(HANDSET, "from 102").status == 202
    row = site.settled(OTHER_DID, "from 102", "delivered")
    assert (row["direction"], row["from"], row["to"]) == ("out", OTHER_DID, HANDSET)


@pytest.mark.req("S-089")
def test_a_refusal_reaches_the_phone(kamailio: Kamailio) -> None:
    with kamailio.phone("101") as phone:
        answer = phone.message(HANDSET, "x" * 161)
    assert answer.status == 413
    assert "160" in answer.get("warning")


@pytest.mark.req("F-17")
def test_a_phone_that_is_away_loses_nothing(kamailio: Kamailio, site: Site) -> None:
    """480 leaves it queued; when the phone is back, Kamailio has the trunk register, and that wakes it."""
    site.sms(DID, "while away")
    site.wait(lambda: "480" in str(site.settled(DID, "while away", "queued", "sending")["deliveries"]))
    with kamailio.phone("101") as phone:
        assert phone.take(20).text == "while away"
    site.settled(DID, "while away", "delivered")


def test_the_readme_names_every_word_to_fill_in() -> None:
    word = re.compile(r"\b(?:SIPSMS|PBX|PHONE|KAMAILIO)_[A-Z0-9_]+\b")
    files = (FILES / "kamailio.cfg").read_text() + (FILES / "db" / "uacreg").read_text()
    assert set(word.findall(files)) == set(word.findall((FILES / "README.md").read_text()))
