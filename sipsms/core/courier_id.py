"""Names of couriers, and of the carriers that messages come from. Pure."""

from __future__ import annotations


class CourierId(str):
    """The name of a courier, as the store has it: `sip`, `mail`, `callback`, ..., or `carrier:NAME`."""

    __slots__ = ()

    @classmethod
    def of_carrier(cls, name: str) -> CourierId:
        return cls(f"carrier:{name}")

    @property
    def kind(self) -> str:
        """Kind of the courier: `carrier` for all carriers."""
        return self.partition(":")[0]

    @property
    def carrier(self) -> str:
        """Name of the carrier; empty for other couriers."""
        return carrier_of(self)


SIP, CALLBACK, WEBHOOK = CourierId("sip"), CourierId("callback"), CourierId("webhook")
MAIL, FORWARD, MEDIA = CourierId("mail"), CourierId("forward"), CourierId("media")
APP = CourierId("app")  # fetched by an app of the account
SMPP = CourierId("smpp")  # a customer's ESME, or its SMPP server


def hook_origin(carrier: str) -> str:
    """Return the origin of a message that a carrier brought to our hook, or that we polled."""
    return f"hook:{carrier}"


def carrier_of(origin: str) -> str:
    """Return the name of the carrier that a message came from; empty if it came from none."""
    kind, _, name = origin.partition(":")
    return name if kind in ("carrier", "hook") else ""
