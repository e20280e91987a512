"""The configuration: what is read, and how what is wrong is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from sipsms.app import settings
from sipsms.app.settings import Config, literal_secrets
from sipsms.carriers.settings import HttpCarrierConfig, LoopbackConfig, Reply
from sipsms.core import validators, yaml_file
from sipsms.core.smpp_url import SmppUrl
from sipsms.core.validators import HttpListen, SipListen, SmppListen
from sipsms.core.yaml_file import ConfigError, Document
from sipsms.smpp.settings import SmppConfig

SHIPPED = Path(__file__).parents[2] / "etc" / "sipsms.yaml"

ACME = """\
domain: sip.example.net
carriers:
  acme:
    type: http
    url: https://api.acme.example/send
    method: POST
    body: json
    auth: {bearer: "env:ACME_TOKEN"}
    headers: {}
    fields: {from: "{from}", to: "{to}", text: "{text}", ref: "{id}"}
    numbers: nanpa
    ok: {status: [200, 202], id: data.id}
    timeout: 30
    inbound:
      secret: "env:ACME_HOOK"
      fields: {from: from, to: to, text: text, id: id}
      reply: {status: 200, body: ok}
"""


def read(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "sipsms.yaml"
    path.write_text(dedent(text), "utf-8")
    return settings.load(path)


def errors(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    prefix = f"{tmp_path}/sipsms.yaml"
    assert all(e.startswith(prefix) for e in caught.value.errors)
    assert str(caught.value) == "\n".join(caught.value.errors)
    return [e.removeprefix(prefix) for e in caught.value.errors]


def acme(tmp_path: Path) -> HttpCarrierConfig:
    carrier = read(tmp_path, ACME).carriers["acme"]
    assert isinstance(carrier, HttpCarrierConfig)
    return carrier


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_TOKEN", "t0ken")
    monkeypatch.setenv("ACME_HOOK", "h00k")


# --- what is read ----------------------------------------------------------------------------------------------------


def test_an_almost_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    c = read(tmp_path, "domain: SIP.example.net")
    assert (c.domain, c.realm, c.aliases, c.digest) == ("sip.example.net", "sip.example.net", (), ("md5",))
    assert c.listen.sip == (SipListen("udp", "0.0.0.0", 5060), SipListen("tcp", "0.0.0.0", 5060))
    assert c.listen.http == HttpListen("127.0.0.1", 8080)
    assert (c.queue.keep, c.queue.device_memory) == (14 * 86400, 30 * 86400)
    assert (c.messages.max_length, c.messages.length_unit) == (160, "characters")
    assert c.carriers == {}


def test_the_shipped_file_contains_the_defaults(tmp_path: Path) -> None:
    shipped = settings.load(SHIPPED)
    plain = read(tmp_path, "domain: sip.example.net")
    assert {**dict(shipped), "carriers": {}} == dict(plain)
    assert shipped.carriers == {"sim": LoopbackConfig(type="loopback")}


def _names(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        yield above or model.__name__, field.alias or name
        for inner in yaml_file._models_in(field.annotation):
            yield from _names(inner)


def test_the_shipped_file_mentions_every_option() -> None:
    text = SHIPPED.read_text("utf-8")
    mentioned = set(re.findall(r"(?:^|[\s#{,])([a-z_]+):", text))
    assert [f"{m}.{n}" for m, n in _names(Config) if n not in mentioned] == []


def test_the_example_carriers_of_the_shipped_file_are_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = SHIPPED.read_text("utf-8")
    for name in re.findall(r"env:(\w+)", text):
        monkeypatch.setenv(name, "s3cret")
    start = text.index("  # acme:")
    example = "\n".join(re.sub(r"^  # ", "  ", line) for line in text[start:].splitlines())
    c = read(tmp_path, text[:start] + example)
    assert isinstance(c.carriers["acme"], HttpCarrierConfig)
    assert {"voipms", "telnyx", "twilio", "bandwidth"} <= set(c.carriers)


def test_an_http_carrier_is_read(tmp_path: Path) -> None:
    c = acme(tmp_path)
    assert c.auth is not None
    assert c.auth.bearer == SecretStr("t0ken")
    assert c.fields_ == {"from": "{from}", "to": "{to}", "text": "{text}", "ref": "{id}"}
    assert (c.ok.status, c.ok.id, c.timeout) == ((200, 202), "data.id", 30.0)
    assert c.inbound is not None
    assert c.inbound.secret.get_secret_value() == "h00k"
    assert c.inbound.fields_.from_ == ("from",)
    assert c.inbound.reply == Reply(status=200, body="ok", content_type="text/plain")


def test_no_repr_contains_a_secret(tmp_path: Path) -> None:
    text = ACME + "store: postgresql://u:hidden3@h/db\n"
    text = text.replace("headers: {}", "headers: {X-Key: hidden1}").replace('ref: "{id}"', 'key: "file:key"')
    (tmp_path / "key").write_text("hidden2\n")
    c = read(tmp_path, text)
    carrier = c.carriers["acme"]
    assert isinstance(carrier, HttpCarrierConfig)
    assert carrier.fields_["key"] == SecretStr("hidden2")
    assert carrier.headers == {"X-Key": SecretStr("hidden1")}
    assert not re.search("t0ken|h00k|hidden", repr(c) + str(c))


DURATIONS: list[tuple[Any, float]] = [
    ("14d", 1209600), ("12h", 43200), ("5m", 300), ("30s", 30), ("250ms", 0.25), ("1.5s", 1.5), (30, 30), (0.5, 0.5),
]  # fmt: skip


@pytest.mark.parametrize(("written", "seconds"), DURATIONS)
def test_a_duration_is_read(written: object, seconds: float) -> None:
    assert validators.duration(written) == seconds


@pytest.mark.parametrize("written", ["", "5", "5 m", "-5s", "1e3s", "5mm", "d", -1, True, None, float("nan"), 1e12, []])
def test_an_invalid_duration_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        validators.duration(written)


def test_listeners_are_read(tmp_path: Path) -> None:
    c = read(tmp_path, 'domain: a\nlisten: {sip: ["udp://[::1]:0", "tcp://sip.example.net:5070"], http: null}')
    assert c.listen.sip == (SipListen("udp", "::1", 0), SipListen("tcp", "sip.example.net", 5070))
    assert c.listen.http is None


STORES = {
    "sqlite:///var/lib/sipsms/sipsms.db": "sqlite:////var/lib/sipsms/sipsms.db",
    "sqlite:////data/x.db": "sqlite:////data/x.db",
    "sqlite:///tmp/x.db": "sqlite:////tmp/x.db",
    "sqlite:///x.db": "sqlite:///{here}/x.db",
    "sqlite:///state/x.db": "sqlite:///{here}/state/x.db",
    "sqlite:///:memory:": "sqlite:///:memory:",
    "postgresql://u@h/db": "postgresql://u@h/db",
}


@pytest.mark.parametrize(("written", "meant"), STORES.items())
def test_the_store_is_a_url_or_a_path(tmp_path: Path, written: str, meant: str) -> None:
    assert read(tmp_path, f"domain: a\nstore: '{written}'").store_url == meant.format(here=tmp_path)


def test_the_dialplan_is_found_beside_the_configuration(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    assert read(etc, "domain: a").dialplan_directory is None
    (etc / "dialplan").mkdir()
    assert read(etc, "domain: a").dialplan_directory == etc / "dialplan"
    (tmp_path / "dialplan").mkdir()
    sibling = read(etc, "domain: a").dialplan_directory
    assert sibling is not None
    assert sibling.resolve() == tmp_path / "dialplan"
    assert read(etc, "domain: a\ndialplan: dialplan").dialplan_directory == etc / "dialplan"


# --- what is wrong ---------------------------------------------------------------------------------------------------

WRONG: list[tuple[str, list[str]]] = [
    ("", [":1: domain: is required"]),
    ("- a\n", [":1: expected `key: value` lines"]),
    ("domain: a\nlisten:\n  sip:\n    - foo\n", [
        ":4: listen.sip[0]: expected udp|tcp|tls|ws|wss://HOST:PORT, got 'foo'"]),
    ("domain: a\nlisten: {sip: ['udp://h:99999']}", [
        ":2: listen.sip[0]: expected udp|tcp|tls|ws|wss://HOST:PORT, got 'udp://h:99999'"]),
    ("domain: a\nlisten:\n  http: https://h:1\n", [":3: listen.http: expected http://HOST:PORT, got 'https://h:1'"]),
    ("domain: a\n\nqeue: {}\n", [":3: qeue: unknown key; did you mean `queue`?"]),
    ("domain: a\nqueue:\n  keep: 14d\n  retry_mim: 5s\n", [
        ":4: queue.retry_mim: unknown key; did you mean `retry_min`?"]),
    ("domain: a\nzzz: 1\n", [":2: zzz: unknown key"]),
    ("domain: a\nqueue:\n  keep: soon\n", [
        ":3: queue.keep: expected a duration like 14d, 5m, 30s or 250ms, got 'soon'"]),
    ("domain: a\nlog: {level: loud}", [
        ":2: log.level: expected 'debug', 'info', 'warning' or 'error', got 'loud'"]),
    ("domain: a\ndigest: [md4]", [":2: digest[0]: expected 'md5' or 'sha-256', got 'md4'"]),
    ("domain: 5\n", [":1: domain: expected text (a number goes in quotes), got 5"]),
    ("domain: a b\n", [":1: domain: expected a host name or an address, got 'a b'"]),
    ("domain: a\nsip: {max_contacts: many}", [":2: sip.max_contacts: expected a whole number, got 'many'"]),
    ("domain: a\nsip: {min_expires: 90000}", [":2: sip: expected min_expires <= default_expires <= max_expires"]),
    ("domain: a\nsip: 7", [":2: sip: expected `key: value` lines, got 7"]),
    ("domain: a\nmessages:\n  max_length: 0\n", [
        ":3: messages.max_length: expected greater than or equal to 1, got 0"]),
    ("domain: a\ndomain: b\n", [":2: domain: stands twice, first in line 1"]),
    ("domain: a\nlog:\n  level: info\n  level: info\n", [":4: log.level: stands twice, first in line 3"]),
    ("domain: a\n5: b\n", [":2: 5: a key must be text: write it in quotes"]),
    ("domain: a\nlog: [\n", [":3: expected the node content, but found '<stream end>'"]),
    ("domain: a\nlog: &x {level: *x}\n", [":2: log.level: an alias inside its own anchor"]),
    ("domain: !!python/name:os.system x\n", [
        ":1: domain: could not determine a constructor for the tag 'tag:yaml.org,2002:python/name:os.system'"]),
    ("domain: a\nstore: mysql://x\n", [":2: store: expected sqlite:///PATH or postgresql://USER@HOST/DATABASE"]),
    ("domain: a\ndialplan: nowhere\n", [":2: dialplan: {here}/nowhere is no directory"]),
    ("domain: a\ncarriers:\n  x: {type: smtp}\n", [
        ":3: carriers.x.type: expected 'loopback' or 'sip' or 'smpp' or 'http' or 'voipms' or 'telnyx' or 'twilio' or"
        " 'bandwidth', got 'smtp'"]),
    ("domain: a\ncarriers:\n  all: {type: loopback}\n", [
        ":3: carriers.all: routing.yaml says `all` for every carrier: take another name"]),
    ("domain: a\ncarriers:\n  x: {}\n", [":3: carriers.x.type: is required"]),
    ("domain: a\ncarriers:\n  x/y: {type: loopback}\n", [
        ":3: carriers.x/y: a carrier's name is 1 to 32 letters, digits, _ and -: it stands in the hook's path"]),
    ("domain: a\ncarriers:\n  x: {type: loopback, url: a}\n", [":3: carriers.x.url: unknown key"]),
    ("domain: a\ncarriers:\n  x:\n    type: http\n", [":3: carriers.x.url: is required"]),
    ("domain: a\ndigest: []\n", [":2: digest: expected at least one, and none twice"]),
    ("domain: a\nrealm: null\n5:", [":3: 5: a key must be text: write it in quotes"]),
    # all at once, in the order of the file
    ("domain: a\nlog: {level: loud}\nqueue: {keep: soon}\nzz: 1\n", [
        ":2: log.level: expected 'debug', 'info', 'warning' or 'error', got 'loud'",
        ":3: queue.keep: expected a duration like 14d, 5m, 30s or 250ms, got 'soon'",
        ":4: zz: unknown key"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), WRONG)
def test_errors_name_file_line_and_key(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert errors(tmp_path, text) == [e.replace("{here}", str(tmp_path)) for e in expected]


CARRIER_ERRORS = [
    ('"env:ACME_TOKEN"', '"env:NOWHERE"', ":8: carriers.acme.auth.bearer: the environment has no variable NOWHERE"),
    ('"env:ACME_TOKEN"', '"file:nowhere"',
     ":8: carriers.acme.auth.bearer: cannot read nowhere: No such file or directory"),
    ('bearer: "env:ACME_TOKEN"', "", ":8: carriers.acme.auth: expected one of `bearer`, `basic` and `query`"),
    ('bearer: "env:ACME_TOKEN"', "basic: [u]", ":8: carriers.acme.auth.basic[1]: is required"),
    ('"env:ACME_HOOK"', '"a/b"',
     ":15: carriers.acme.inbound.secret: stands in the hook's path: only letters, digits and . _ ~ - fit there"),
    ('"env:ACME_HOOK"', '""', ":15: carriers.acme.inbound.secret: the secret is empty"),
    ('"env:ACME_HOOK"', "12345",
     ":15: carriers.acme.inbound.secret: expected env:NAME, file:PATH or the secret itself, in quotes"),
    ('"{id}"', '"{ref}"',
     ":10: carriers.acme.fields.ref: unknown placeholder {ref}; known are {from} {to} {text} {id} {did} {account},"
     " and {{ for a brace"),
    ('"{id}"', '"{"', ":10: carriers.acme.fields.ref: Single '{' encountered in format string"),
    ('ref: "{id}"', "to.x: 1", ":3: carriers.acme: `fields`: to.x and another key claim the same place"),
    ("body: json", "body: xml", ":7: carriers.acme.body: expected 'json', 'form' or 'query', got 'xml'"),
    ("method: POST", "method: GET", ":3: carriers.acme: method GET goes with body query"),
    ("timeout: 30", "timeuot: 30", ":13: carriers.acme.timeuot: unknown key; did you mean `timeout`?"),
    ("timeout: 30", "timeout: 0", ":13: carriers.acme.timeout: expected greater than 0, got 0"),
    ("https://api", "https://u:geheim@api",
     ":5: carriers.acme.url: no user or password in the URL: they belong under `auth`"),
    ("https://api", "ftp://api",
     ":5: carriers.acme.url: expected http://... or https://... (a host of other letters as xn--...)"),
    ("[200, 202]", "[200, 302]", ":12: carriers.acme.ok.status[1]: expected less than or equal to 299, got 302"),
    ("headers: {}", "headers: {'X Y': a}", ":9: carriers.acme.headers.X Y: not a header name"),
    ("headers: {}", 'headers: {X: "a\\r\\nB: c"}',
     ":9: carriers.acme.headers.X: the secret has control characters or more than one line"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), CARRIER_ERRORS)
def test_errors_of_carriers_name_file_line_and_key(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in ACME
    assert errors(tmp_path, ACME.replace(old, new)) == [expected]


def test_no_error_contains_a_secret(tmp_path: Path) -> None:
    text = """\
        domain: a
        store: hunter2
        carriers:
          acme:
            type: http
            url: https://u:hunter2@x
            auth: {basic: hunter2, bearer: hunter2}
            headers: {X: [hunter2]}
            fields: hunter2
            inbound: {secret: "hunter2/"}
        """
    told = errors(tmp_path, text)
    assert len(told) >= 6
    assert "hunter2" not in "".join(told)


LITERAL = """\
domain: a
carriers:
  one:
    type: http
    url: https://x
    auth: {basic: [user, hunter2]}
    headers: {Accept: text/plain}
    fields: {to: "{to}", key: hunter2}
    inbound:
      secret: hunter2
      auth: {basic: [user, hunter2]}
      signature: {kind: plivo, key: hunter2}
  two: {type: http, url: "https://x", auth: {query: {key: hunter2, other: "env:ACME_TOKEN"}}}
  three: {type: voipms, username: a, password: hunter2, inbound: {secret: "env:ACME_HOOK"}}
  four: {type: twilio, account_sid: AC000000, auth_token: "file:x", api_key_sid: SK000000, api_key_secret: hunter2}
  five: {type: loopback}
"""


@pytest.mark.req("A-48")
def test_secrets_written_in_the_file_are_found(tmp_path: Path) -> None:
    path = tmp_path / "sipsms.yaml"
    path.write_text(LITERAL)
    found = literal_secrets(Document.read(path))
    places = [line.removeprefix(f"{path}:").split(": ", 1)[0] for line in found]
    assert places == ["6", "10", "11", "12", "13", "14", "15"]
    assert [line.split(": ")[1] for line in found] == [
        "carriers.one.auth.basic[1]",
        "carriers.one.inbound.secret",
        "carriers.one.inbound.auth.basic[1]",
        "carriers.one.inbound.signature.key",
        "carriers.two.auth.query.key",
        "carriers.three.password",
        "carriers.four.api_key_secret",
    ]
    assert "hunter2" not in "".join(found)


NO_CARRIERS = [
    "a", "[]", "carriers:", "carriers: []", "carriers: {x: 5}", "carriers: {x: {type: [1]}}",
    "carriers: {x: {type: voipms, password: [a]}}", "carriers: {x: {type: http, auth: {basic: a}}}",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_CARRIERS)
def test_a_file_without_secrets_gives_none(tmp_path: Path, text: str) -> None:
    assert literal_secrets(Document.parse(tmp_path / "x.yaml", text)) == []


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), lambda p: p.write_bytes(b"\xff\xfe")])
def test_an_unreadable_file_is_an_error(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "x.yaml"
    make(path)
    with pytest.raises(ConfigError) as caught:
        settings.load(path)
    assert len(caught.value.errors) == 1
    assert str(caught.value).startswith(f"{path}: ")


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    c = read(tmp_path, "domain: a")
    with pytest.raises(ValueError):
        c.domain = "b"


# --- SMPP -------------------------------------------------------------------------------------------------------------

SMSC = "domain: a\ncarriers:\n  x: {{type: smpp, url: 'ssmpp://smsc.example.net'{0}}}\n"


@pytest.mark.req("S-067", "S-073", "S-074", "S-075")
def test_smpp_settings_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSC_URL", "smpp://me:hunter2@smsc.example.net:16000")
    (tmp_path / "key").write_text("from-file\n")
    found = read(tmp_path, """
domain: sip.example.net
listen: {smpp: ["smpp://0.0.0.0:2775"]}
smpp: {rate: 2.5, charsets: {"1": gsm, "4": utf8}}
carriers:
  one: {type: smpp, url: "ssmpp://me:p%40@smsc.example.net", binds: 2, window: 10, rate: 100}
  two: {type: smpp, url: "env:SMSC_URL", password: "file:key", long: payload, charsets: {"0": latin1}}
""")  # fmt: skip
    assert found.listen.smpp == (SmppListen(False, "0.0.0.0", 2775),)
    assert (found.smpp.rate, found.smpp.charsets) == (2.5, {0: "gsm", 1: "gsm", 3: "latin1", 4: "utf8", 8: "ucs2"})
    one, two = found.carriers["one"], found.carriers["two"]
    assert isinstance(one, SmppConfig)
    assert isinstance(two, SmppConfig)
    assert (one.url, one.credentials) == (SmppUrl(True, "smsc.example.net", 3550, "me", "p@"), ("me", "p@"))
    assert (one.text_unit, one.rate, two.text_unit) == ("segments", 100.0, "septets")
    assert (two.url.port, two.credentials, two.charsets[0]) == (16000, ("me", "from-file"), "latin1")
    assert "hunter2" not in repr(found)
    assert "p@" not in repr(found)
    assert read(tmp_path, "domain: a").listen.smpp == ()


SMPP_WRONG = {
    "listen: {smpp: ['udp://0.0.0.0:2775']}": "listen.smpp[0]: expected smpp|ssmpp://HOST:PORT, got 'udp://0.0.0.0:2775'",
    "listen: {smpp: ['ssmpp://0.0.0.0:3550']}": "ssmpp:// needs `tls: {certificate: FILE, key: FILE}`",
    "smpp: {rate: -1}": "smpp.rate: expected greater than or equal to 0, got -1",
    "smpp: {window: 0}": "smpp.window: expected greater than or equal to 1, got 0",
    "smpp: {charsets: {'0': cp1}}": "smpp.charsets.0: expected 'gsm', 'ia5', 'latin1', 'ucs2' or 'utf8', got 'cp1'",
    "smpp: {charsets: {'256': gsm}}": "smpp.charsets.256: expected less than or equal to 255, got 'gsm'",
}  # fmt: skip


@pytest.mark.parametrize("text", SMPP_WRONG)
def test_invalid_smpp_settings_are_refused(tmp_path: Path, text: str) -> None:
    (line,) = errors(tmp_path, f"domain: a\n{text}\n")
    assert line.endswith(f": {SMPP_WRONG[text]}")


SMSC_WRONG = {
    ", binds: 0": "x.binds: expected greater than or equal to 1, got 0",
    ", bind: both": "x.bind: expected 'transceiver', 'separate' or 'transmitter', got 'both'",
    ", source_ton: 7": "x.source_ton: expected less than or equal to 6, got 7",
    ", long: payload, text_unit: segments": "x: `long: payload` sends a text whole: `text_unit: segments` would cut it",
    ", long_texts: mms": "x: `long_texts: mms`: no media go by SMPP",
}


@pytest.mark.parametrize("more", SMSC_WRONG)
def test_an_invalid_smsc_is_refused(tmp_path: Path, more: str) -> None:
    assert errors(tmp_path, SMSC.format(more)) == [f":3: carriers.{SMSC_WRONG[more]}"]


@pytest.mark.req("A-48")
def test_the_password_in_the_url_of_an_smsc_is_found_and_in_no_error(tmp_path: Path) -> None:
    """In no error, and found where it stands in the file."""
    text = "domain: a\ncarriers:\n  x:\n    type: smpp\n    url: smpp://me:hunter2@h.example{0}\n"
    (line,) = errors(tmp_path, text.format("/x"))
    assert line.startswith(":5: carriers.x.url: the URL has a path")
    assert "hunter2" not in line
    (found,) = literal_secrets(Document.parse(tmp_path / "x.yaml", text.format("")))
    assert ":5: carriers.x.url: the secret stands in the file" in found
    assert literal_secrets(Document.parse(tmp_path / "x.yaml", text.format("").replace(":hunter2", ""))) == []
    assert literal_secrets(Document.parse(tmp_path / "x.yaml", SMSC.format(", password: x")))


def test_segments_as_text_unit_are_for_smpp_only(tmp_path: Path) -> None:
    (line,) = errors(tmp_path, "domain: a\ncarriers:\n  x: {type: loopback, text_unit: segments}\n")
    assert line.startswith(":3: carriers.x.text_unit: expected characters or septets")
