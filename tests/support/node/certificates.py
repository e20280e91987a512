"""Certificates for tests: an authority of our own, and what it signs."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Files:
    certificate: Path
    key: Path

    @property
    def settings(self) -> dict[str, str]:
        """As sipsms.yaml has it."""
        return {"certificate": str(self.certificate), "key": str(self.key)}


class Authority:
    def __init__(self) -> None:
        self._ca = trustme.CA(key_type=trustme.KeyType.ECDSA)

    def issue(self, folder: Path, *names: str, file: str = "server") -> Files:
        """A certificate for these names (and addresses) in files of this folder."""
        folder.mkdir(parents=True, exist_ok=True)
        issued = self._ca.issue_cert(
            *(names or ("sip.example.net", "127.0.0.1", "::1")), key_type=trustme.KeyType.ECDSA
        )
        files = Files(folder / f"{file}.crt", folder / f"{file}.key")
        files.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        files.key.write_bytes(issued.private_key_pem.bytes())
        return files

    def write(self, path: Path) -> Path:
        self._ca.cert_pem.write_to_path(str(path))
        return path

    def trusting(self) -> ssl.SSLContext:
        """A client that believes this authority only."""
        context = ssl.create_default_context()
        self._ca.configure_trust(context)
        return context
