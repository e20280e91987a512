"""Signatures: vectors that the vendors publish, and everything near them that must not pass."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Callable, Mapping
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sipsms.carriers import signatures
from sipsms.messaging.carrier import HookError, HookRequest
from tests.carriers.kit import NOW

Check = Callable[[], None]


def passes(check: Check) -> bool:
    try:
        check()
    except HookError as error:
        assert error.status == 401
        return False
    return True


def request(
    body: bytes = b"", headers: Mapping[str, str] | None = None, url: str = "", at: float = NOW, method: str = "POST"
) -> HookRequest:
    return HookRequest(method, {}, headers or {}, body, url, at)


# --- Twilio: the example of twilio.com/docs/usage/security ------------------------------------------------------------

URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
PARAMS = [("CallSid", "CA1234567890ABCDE"), ("Caller", "+14158675309"), ("Digits", "1234"), ("From", "+14158675309"),
          ("To", "+18005551212")]  # fmt: skip
SIGNATURE = "RSOYDt4T1cUTdK1PDd93/VVr8B8="


def twilio(
    signature: str = SIGNATURE, params: list[tuple[str, str]] = PARAMS, url: str = URL, key: str = "12345",
    header: str = "x-twilio-signature",
) -> bool:  # fmt: skip
    return passes(lambda: signatures.check_twilio(request(headers={header: signature}, url=url), params, key))


@pytest.mark.req("A-41", "A-42", "W-05")
def test_the_signature_of_twilio_matches_its_published_vector() -> None:
    assert twilio()
    assert twilio(params=PARAMS[::-1])
    assert twilio(header="x-signalwire-signature")
    assert twilio(url=URL.replace(".com/", ".com:443/"))
    assert not twilio(url=URL.replace("mycompany.com/", "mycompany.com.example/"))
    assert not twilio(url=URL.replace("https", "http"))
    assert not twilio(url="")
    assert not twilio(params=PARAMS[1:])
    assert not twilio(params=[*PARAMS, ("x", "")])
    assert not twilio(key="12346")
    assert not twilio(header="x-other")
    for wrong in ("", "=", SIGNATURE.lower(), SIGNATURE[:-1], SIGNATURE + ",", "\u0430", "\udfff"):
        assert not twilio(wrong)


@pytest.mark.req("A-41", "W-05")
@pytest.mark.parametrize("host", ["sms.example.net", "[2001:db8::1]"])
def test_the_url_is_signed_with_its_port_or_without_or_with_the_default_port(host: str) -> None:
    """twilio-python#392: Twilio leaves out a port that is not the default; proxies add or remove it."""

    def signed(url: str) -> str:
        return b64encode(hmac.new(b"12345", (url + "a1").encode(), hashlib.sha1).digest()).decode()

    for scheme, usual in (("https", 443), ("http", 80)):
        called = f"{scheme}://{host}:8443/hooks/twilio/s?x=1:2"
        for port in (":8443", "", f":{usual}"):
            assert twilio(signed(called.replace(":8443", port)), [("a", "1")], called)
        for wrong in (":8444", ":"):
            assert not twilio(signed(called.replace(":8443", wrong)), [("a", "1")], called)
        plain = called.replace(":8443", "")
        for port in ("", f":{usual}"):
            assert twilio(signed(plain.replace(host, host + port)), [("a", "1")], plain)
        for version in ("v2", "v3"):
            text = called.replace(":8443", "")
            given = v3(f"{text}.a1") if version == "v3" else _v2(text.partition("?")[0])
            assert plivo(given, called, [("a", "1")])


def _v2(url: str) -> dict[str, str]:
    signature = b64encode(hmac.new(b"my_auth_token", f"{url}12345".encode(), hashlib.sha256).digest()).decode()
    return {"x-plivo-signature-v2": signature, "x-plivo-signature-v2-nonce": "12345"}


@pytest.mark.req("A-41")
def test_an_empty_key_never_matches() -> None:
    empty = b64encode(hmac.new(b"", URL.encode(), hashlib.sha1).digest()).decode()
    assert not twilio(empty, params=[], key="")


# --- Plivo: the example of plivo-python's tests -----------------------------------------------------------------------

V2 = {"x-plivo-signature-v2": "ehV3IKhLysWBxC1sy8INm0qGoQYdYsHwuoKjsX7FsXc=", "x-plivo-signature-v2-nonce": "12345"}


def plivo(headers: Mapping[str, str], url: str = "https://answer.url", form: list[tuple[str, str]] | None = None,
          key: str = "my_auth_token", method: str = "POST") -> bool:  # fmt: skip
    given = request(headers=headers, url=url, method=method)
    return passes(lambda: signatures.check_plivo(given, form or [], key))


def v3(signed: str, key: str = "my_auth_token", *, main: str = "") -> dict[str, str]:
    signature = b64encode(hmac.new(key.encode(), f"{signed}.12345".encode(), hashlib.sha256).digest()).decode()
    return {f"x-plivo-signature-{main}v3": f"AAAA, {signature}", "x-plivo-signature-v3-nonce": "12345"}


@pytest.mark.req("A-41", "A-42", "W-05")
def test_the_v2_signature_of_plivo_matches_its_vector() -> None:
    assert plivo(V2)
    assert plivo(V2, "https://answer.url?x=1")
    assert not plivo(V2, "https://answer.url/")
    assert not plivo(V2, key="")
    assert not plivo(V2 | {"x-plivo-signature-v2-nonce": "12346"})
    assert not plivo({"x-plivo-signature-v2-nonce": "12345"})
    assert not plivo({})


FIELDS = [("To", "2"), ("From", "1")]
CANONICAL = [
    ("POST", "https://h/x", FIELDS, "https://h/x?From1To2"),
    ("POST", "https://h/x?b=2&a=1", FIELDS, "https://h/x?a=1&b=2.From1To2"),
    ("POST", "https://h/x?b=2", [], "https://h/x?b=2"),
    ("POST", "https://h/x", [], "https://h/x"),
    ("GET", "https://h/x?b=2&a=1", [], "https://h/x?a=1&b=2"),
]


@pytest.mark.req("A-41", "A-42", "W-05")
@pytest.mark.parametrize(("method", "url", "form", "signed"), CANONICAL)
def test_the_v3_signature_of_plivo_matches(method: str, url: str, form: list[tuple[str, str]], signed: str) -> None:
    assert plivo(v3(signed), url, form, method=method)
    assert plivo(v3(signed, main="ma-"), url, form, method=method)
    assert not plivo(v3(signed, "other"), url, form, method=method)
    assert not plivo(v3(signed), url, [*form, ("Text", "x")], method="POST")
    assert not plivo(V2 | v3(signed, "other"), "https://answer.url", form, method=method)


# --- Telnyx -----------------------------------------------------------------------------------------------------------

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = b64encode(PRIVATE.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
BODY = b'{"data": {}}'


def telnyx(stamp: str = str(int(NOW)), body: bytes = BODY, signature: str | None = None, signed: bytes = BODY) -> bool:
    made = b64encode(PRIVATE.sign(stamp.encode("utf-8", "replace") + b"|" + signed)).decode()
    headers = {"telnyx-timestamp": stamp, "telnyx-signature-ed25519": made if signature is None else signature}
    return passes(lambda: signatures.check_ed25519(request(body, headers), PUBLIC))


@pytest.mark.req("A-41", "A-42", "A-49", "W-05")
def test_the_signature_of_telnyx_matches_its_vector() -> None:
    assert telnyx()
    assert telnyx(str(int(NOW) - 299))
    assert telnyx(str(int(NOW) + 299))
    assert not telnyx(str(int(NOW) - 301))
    assert not telnyx(str(int(NOW) + 301))
    assert not telnyx(str(int(NOW) + 86400))
    assert not telnyx(body=BODY + b" ")
    for stamp in ("", "soon", "-1", "1e9", "٣", "9" * 400):
        assert not telnyx(stamp)
    for signature in ("", "v0=", "AAAA", "A" * 88, "%%%", "\u0430", b64encode(bytes(64)).decode()):
        assert not telnyx(signature=signature)
    assert not passes(lambda: signatures.check_ed25519(request(BODY), PUBLIC))


# --- Vonage -----------------------------------------------------------------------------------------------------------


def vonage_fields(key: str = "secret", **changes: str) -> list[tuple[str, str]]:
    fields = {"msisdn": "1555", "text": "a&b=c", "timestamp": str(int(NOW))} | changes
    signed = "".join(f"&{k}={v.replace('&', '_').replace('=', '_')}" for k, v in sorted(fields.items()))
    return [*fields.items(), ("sig", hmac.new(key.encode(), signed.encode(), hashlib.sha256).hexdigest())]


def vonage(fields: list[tuple[str, str]], key: str = "secret") -> bool:
    return passes(lambda: signatures.check_vonage(request(urlencode(fields).encode()), fields, key))


@pytest.mark.req("A-41", "A-42", "A-49", "W-05")
def test_the_signature_of_vonage_matches_its_vector() -> None:
    good = vonage_fields()
    assert vonage(good)
    assert vonage([(name, value.upper() if name == "sig" else value) for name, value in good])
    assert not vonage(good[:-1])
    assert not vonage([*good, ("more", "1")])
    assert not vonage(vonage_fields("other"))
    assert not vonage(vonage_fields(""), "")
    assert not vonage(vonage_fields(timestamp=str(int(NOW) - 301)))
    assert not vonage(vonage_fields(timestamp=""))


@pytest.mark.req("A-41")
def test_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(signatures.hmac, "compare_digest", lambda a, b: compared.append(a) or real(a, b))
    twilio("wrong")
    plivo({"x-plivo-signature-v2": "wrong", "x-plivo-signature-v2-nonce": "1"})
    vonage(vonage_fields("other"))
    passes(lambda: signatures.check_basic(request(headers={"authorization": "Basic eA=="}), "u", "p"))
    passes(lambda: signatures.check_hmac(request(headers={"x-s": "wrong"}), "k", "X-S", "hex", "", None))
    assert len(compared) >= 5
