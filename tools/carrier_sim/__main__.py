"""The simulator as a program: prints where it listens, runs until it is interrupted."""

from __future__ import annotations

import argparse
import threading

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
    args = parser.parse_args()
    sim = CarrierSim(
        args.port, host=args.host, username=args.username, password=args.password,
        dids=args.did or ["4165550000"], daily_limit=args.daily_limit, retry_every=args.retry,
    )  # fmt: skip
    for did in sim.api.dids.values():
        did.set_callback(args.callback, retry=True)
        did.set_webhook(args.webhook)
    with sim:
        print(f"REST API   {sim.url}\nusername   {args.username}\npassword   {args.password}", flush=True)
        print(f"numbers    {' '.join(sim.api.dids)}\ncontrol    {sim.base}/sim/", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
