"""Fuzz one target in this process, which libFuzzer ends: python -m tools.fuzz.run NAME SECONDS"""

from __future__ import annotations

import hashlib
import sys

import atheris

with atheris.instrument_imports(include=["sipsms"]):
    from tools.fuzz.targets import CASES, ROOT, TARGETS

_PER_INPUT = 5  # seconds, after which libFuzzer reports an input as a hang


def main(name: str, seconds: str) -> None:
    corpus, found, target = ROOT / "var/fuzz" / name, CASES / name, TARGETS[name]
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        (corpus / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    options = [
        f"-max_total_time={seconds}", f"-timeout={_PER_INPUT}", f"-max_len={target.longest}", "-rss_limit_mb=2048",
        "-verbosity=0", "-print_final_stats=1", f"-artifact_prefix={found}/",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(corpus), str(found)], target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
