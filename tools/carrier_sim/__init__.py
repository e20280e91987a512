"""A VoIP.ms on this machine: its REST API, its URL callback and its JSON webhook, with the habits of the real one.

    python -m tools.carrier_sim --port 8089 --did 4165550000

For tests: `with CarrierSim(dids=["4165550000"]) as sim: ...`.
"""

from tools.carrier_sim.server import CarrierSim

__all__ = ["CarrierSim"]
