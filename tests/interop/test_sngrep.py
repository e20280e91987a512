"""sngrep, another project's HEP listener, understands our packets: what it writes down has the right ends."""

from __future__ import annotations

import shutil
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.node.server import Node, free_port
from tests.support.sip.wire import Address, Phone

pytestmark = pytest.mark.skipif(shutil.which("sngrep") is None, reason="sngrep is not installed")


def _packet(source: Address, destination: Address) -> bytes:
    """The end of an IPv4 header and the start of UDP's, as they stand in a capture file."""
    ends = socket.inet_aton(source[0]) + socket.inet_aton(destination[0])
    return ends + struct.pack("!HH", source[1], destination[1])


def test_sngrep_reads_our_copies(tmp_path: Path) -> None:
    capture, port = tmp_path / "capture.pcap", free_port()
    node = Node(tmp_path).listen_securely(trace={"hep": {"host": "127.0.0.1", "port": port, "password": "secret"}})
    node.import_accounts({"name": "acme", "password": "pw", "dids": [{"number": "5550001111"}]})
    command = ["sngrep", "-N", "-q", "-L", f"udp:127.0.0.1:{port}", "-O", str(capture)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as sngrep:
        _wait_for_listener(port)
        wanted = []
        with node:
            for transport in ("udp", "tls"):
                with Phone(node.address_of(transport), "acme", "pw", transport) as phone:
                    assert phone.register().status == 200
                    here, there = phone.wire.local, node.address_of(transport)
                    wanted += [_packet(here, there), _packet(there, here), phone.register_call_id.encode()]
            deadline = time.monotonic() + 10
            while not capture.exists() or not all(one in capture.read_bytes() for one in wanted):
                assert time.monotonic() < deadline
                time.sleep(0.1)
        sngrep.send_signal(signal.SIGINT)
        time.sleep(0.1)
        sngrep.kill()


def _wait_for_listener(port: int) -> None:
    """Until somebody has the UDP port."""
    deadline = time.monotonic() + 10
    while f":{port:04X} " not in Path("/proc/net/udp").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
