"""The server that is attacked: what leaves it a carrier of ours sees, its CPU and memory are in the kernel's books."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

from conformance.lab import Lab

from tests.support.node.stub_carrier import StubCarrier

HANDSET = "4445556666"  # nobody's DID
GOOD = "good"  # how texts begin that may leave
_SECRET = "s3cret"


class Fort(Lab):
    def __init__(self, folder: Path, accounts: int = 60, **settings: Any) -> None:
        self.carrier = StubCarrier()
        inbound = {"secret": _SECRET, "fields": {"id": "id"}}
        acme = {"type": "http", "url": self.carrier.url, "ok": {"id": "data.id"}, "inbound": inbound}
        super().__init__(folder, accounts, **{"carriers": {"acme": acme}, **settings})
        self._ids = self._seen = 0

    def sms(self, did: str, text: str) -> None:
        """An SMS arrives from the telephone network."""
        self._ids += 1
        fields = {"from": HANDSET, "to": did, "text": text, "id": f"m-{self._ids}"}
        request = urllib.request.Request(
            f"{self.url}/hooks/acme/{_SECRET}", json.dumps(fields).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200

    def stop(self, seconds: float = 20.0) -> int:
        code = super().stop(seconds)
        self.carrier.stop()
        return code

    # --- the kernel's books ---

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def cpu(self) -> float:
        """Seconds that the event loop's thread has run."""
        return int(Path(f"/proc/{self.pid}/task/{self.pid}/schedstat").read_text().split()[0]) / 1e9

    def memory(self) -> float:
        """MB resident."""
        match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert match
        return int(match[1]) / 1024

    def files(self) -> int:
        """Open descriptors."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    # --- standing assertions ---

    def assert_stands(self) -> None:
        """Alive, no bug in the log, a good request is answered, and no SMS left that should not."""
        self.assert_healthy()
        self.assert_answers(2.0)
        fresh, self._seen = self.carrier.taken[self._seen :], len(self.carrier.taken)
        left = [one.json["text"] for one in fresh if not one.json["text"].startswith(GOOD)]
        assert not left, f"{len(left)} SMS left the server: {left[:3]}"
