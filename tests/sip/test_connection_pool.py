"""Connections that we open: whose certificate is taken (C-120), and for whom a connection is used again (C-121)."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sipsms.sip.connection_pool import ConnectionPool, NotConnected
from sipsms.sip.settings import SipSettings
from sipsms.sip.tls import client_context

DOMAIN = "carrier.example.net"
NOW = datetime.datetime.now(datetime.UTC)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(ca: bool) -> x509.KeyUsage:
    rest = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
         "decipher_only"), False,
    )  # fmt: skip
    return x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **rest)


class Ca:
    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(self.key.public_key(), _name("Test CA"), [], ca=True)

    def _sign(
        self, key: Any, subject: x509.Name, names: list[x509.GeneralName], *, ca: bool = False, days: int = 30
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(_name("Test CA"))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - datetime.timedelta(days=60))
            .not_valid_after(NOW + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)  # Python 3.13 asks for both
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .add_extension(_usage(ca), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def write(self, path: Path) -> Path:
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def server(
        self, folder: Path, names: list[x509.GeneralName], *, common: str = "x", days: int = 30
    ) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(key.public_key(), _name(common), names, days=days)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / "s.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "s.pem")
        return context


class _Receiver:
    """Counts what the connections say."""

    def __init__(self) -> None:
        self.opened = 0

    def connected(self, connection: object) -> None:
        self.opened += 1

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


@asynccontextmanager
async def _serving(context: ssl.SSLContext) -> AsyncIterator[tuple[int, asyncio.Queue[bytes]]]:
    """A TLS server; its port, and what it reads."""
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            heard.put_nowait(data)
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], heard
    finally:
        server.close()


def _connector(ca: Ca, folder: Path) -> ConnectionPool:
    context = client_context(ca.write(folder / "ca.pem"))
    return ConnectionPool(_Receiver(), "tls", SipSettings(handshake_timeout=3.0), context)  # type: ignore[arg-type]


GOOD: list[list[x509.GeneralName]] = [
    [x509.DNSName(DOMAIN)],
    [x509.DNSName("other.example"), x509.DNSName(DOMAIN.upper())],
    [x509.UniformResourceIdentifier(f"sip:{DOMAIN}")],
]
BAD: list[list[x509.GeneralName]] = [
    [x509.DNSName("other.example.net")],
    [x509.DNSName("*.example.net")],
    [x509.UniformResourceIdentifier("sip:other.example.net"), x509.DNSName(DOMAIN)],
    [x509.UniformResourceIdentifier(f"sip:user@{DOMAIN}")],
    [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))],
    [],
]


@pytest.mark.req("C-120")
@pytest.mark.parametrize("names", GOOD, ids=range(len(GOOD)))
async def test_c120_a_certificate_of_the_domain_is_accepted(tmp_path: Path, names: list[x509.GeneralName]) -> None:
    ca = Ca()
    connector = _connector(ca, tmp_path)
    async with _serving(ca.server(tmp_path, names)) as (port, heard):
        connection = await connector.connect(DOMAIN, "127.0.0.1", port)
        assert connection.send(b"hello")
        assert await asyncio.wait_for(heard.get(), 3) == b"hello"
        connector.close()


@pytest.mark.req("C-120")
@pytest.mark.parametrize("names", BAD, ids=range(len(BAD)))
async def test_c120_a_certificate_of_another_name_is_refused(tmp_path: Path, names: list[x509.GeneralName]) -> None:
    """Another name, a wildcard, an address; and, without names, the domain as common name only."""
    ca = Ca()
    connector = _connector(ca, tmp_path)
    async with _serving(ca.server(tmp_path, names, common=DOMAIN)) as (port, heard):
        with pytest.raises(NotConnected, match="not for carrier"):
            await connector.connect(DOMAIN, "127.0.0.1", port)
        assert heard.empty()


@pytest.mark.req("C-120")
@pytest.mark.parametrize(("days", "trusted"), [(-1, True), (30, False)], ids=["expired", "unknown authority"])
async def test_c120_a_certificate_with_a_bad_chain_is_refused(tmp_path: Path, days: int, trusted: bool) -> None:
    ca = Ca()
    connector = _connector(ca if trusted else Ca(), tmp_path)
    async with _serving(ca.server(tmp_path, [x509.DNSName(DOMAIN)], days=days)) as (port, heard):
        with pytest.raises(NotConnected):
            await connector.connect(DOMAIN, "127.0.0.1", port)
        assert heard.empty()


@pytest.mark.req("C-121")
async def test_c121_two_domains_at_one_address_have_separate_connections(tmp_path: Path) -> None:
    """The connection of one domain is not used for the other, whose certificate is not there."""
    ca = Ca()
    connector = _connector(ca, tmp_path)
    async with _serving(ca.server(tmp_path, [x509.DNSName(DOMAIN)])) as (port, _):
        first = await connector.connect(DOMAIN, "127.0.0.1", port)
        assert await connector.connect(DOMAIN.upper(), "127.0.0.1", port) is first
        with pytest.raises(NotConnected):
            await connector.connect("other.example.net", "127.0.0.1", port)
        assert first.open
        connector.close()


@pytest.mark.req("C-121")
async def test_a_closed_connection_is_not_used_again(tmp_path: Path) -> None:
    ca = Ca()
    connector = _connector(ca, tmp_path)
    async with _serving(ca.server(tmp_path, [x509.DNSName(DOMAIN)])) as (port, _):
        first = await connector.connect(DOMAIN, "127.0.0.1", port)
        first.abort()
        again = await connector.connect(DOMAIN, "127.0.0.1", port)
        assert again is not first
        assert again.open
        connector.close()


async def test_a_refused_connection_raises_a_transport_error(tmp_path: Path) -> None:
    connector = ConnectionPool(_Receiver(), "tcp", SipSettings(handshake_timeout=2.0), None)  # type: ignore[arg-type]
    with pytest.raises(NotConnected, match=r"127\.0\.0\.1:1:"):
        await connector.connect(DOMAIN, "127.0.0.1", 1)
