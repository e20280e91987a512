"""The table of targets, their kept cases, and changes to their seeds that need no fuzzer."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tools.fuzz import carrier_replies, hooks, sip_body, sip_datagram, sip_stream, smpp_pdu, user_data, yaml_files

ROOT: Final = Path(__file__).resolve().parents[2]
CASES: Final = ROOT / "tests/testdata/fuzz"


class Target(NamedTuple):
    seeds: Callable[[], list[bytes]]
    check: Callable[[bytes], None]
    longest: int  # octets of an input


TARGETS: Final = {
    "sip_datagram": Target(sip_datagram.seeds, sip_datagram.check, 8192),
    "sip_stream": Target(sip_stream.seeds, sip_stream.check, 8192),
    "sip_body": Target(sip_body.seeds, sip_body.check, 8192),
    "smpp_pdu": Target(smpp_pdu.seeds, smpp_pdu.check, 1024),
    "user_data": Target(user_data.seeds, user_data.check, 1024),
    "hooks": Target(hooks.seeds, hooks.check, 4096),
    "carrier_replies": Target(carrier_replies.seeds, carrier_replies.check, 4096),
    "yaml_files": Target(yaml_files.seeds, yaml_files.check, 4096),
}


def kept(name: str) -> list[Path]:
    """Return the files of inputs that once found a bug in a target."""
    return sorted(one for one in (CASES / name).glob("*") if one.is_file())


def mutations(seeds: list[bytes], count: int, seed: int = 1) -> Iterator[bytes]:
    """Yield inputs that differ from a seed in a few octets; the same inputs each time."""
    dice = random.Random(seed)
    for _ in range(count):
        data = bytearray(dice.choice(seeds))
        for _ in range(dice.randint(1, 4)):
            start = dice.randint(0, len(data))
            end = min(len(data), start + dice.choice((0, 1, 1, 4, 16)))
            data[start:end] = dice.choice((b"", dice.randbytes(1), dice.randbytes(4), data[start:end] * 3))
        yield bytes(data)
