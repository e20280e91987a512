"""The simulator as a program: prints where it listens, runs until it is interrupted, or as long as another program."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import threading
from contextlib import suppress

from tools.carrier_sim import CarrierSim


def main() -> None:
    parser = argparse.ArgumentParser(prog="carrier_sim", description="A VoIP.ms on this machine.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8089)
    parser.add_argument("--username", default="sim@example.net")
    parser.add_argument("--password", default="simulated")
    parser.add_argument("--did", action="append", default=[], help="a number of the account; may be repeated")
    parser.add_argument("--callback", default="", help="URL callback of every DID, with {FROM} {TO} {MESSAGE} ...")
    parser.add_argument("--webhook", default="", help="JSON webhook of every DID")
    parser.add_argument("--daily-limit", type=int, default=None, help="messages a day; the real one begins with 100")
    parser.add_argument("--retry", type=float, default=1800.0, help="seconds until a callback without `ok` comes again")
    parser.add_argument("--quiet", action="store_true", help="do not print where it listens")
    parser.add_argument("command", nargs="*", help="after --: run this, and end with it")
    args = parser.parse_args()
    sim = CarrierSim(
        args.port, host=args.host, username=args.username, password=args.password,
        dids=args.did or ["4165550000"], daily_limit=args.daily_limit, retry_every=args.retry,
    )  # fmt: skip
    for did in sim.api.dids.values():
        did.set_callback(args.callback, retry=True)
        did.set_webhook(args.webhook)
    with sim:
        if not args.quiet:
            print(f"REST API   {sim.url}\nusername   {args.username}\npassword   {args.password}", flush=True)
            print(f"numbers    {' '.join(sim.api.dids)}\ncontrol    {sim.base}/sim/", flush=True)
        if args.command:
            sys.exit(beside(args.command))
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


def beside(command: list[str]) -> int:
    """Run a program; signals of the terminal are for it. Its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    process = subprocess.Popen(command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    return process.wait()


if __name__ == "__main__":
    main()
