"""Address of a flow: the transport, host and port that a phone's requests come from. Pure."""

from __future__ import annotations


class FlowAddress(str):
    """`udp:192.0.2.1:5060`, as bindings keep it. An IPv6 host has no brackets; older stores may have them."""

    __slots__ = ()

    @classmethod
    def of(cls, transport: str, address: tuple[str, int]) -> FlowAddress:
        return cls(f"{transport}:{address[0]}:{address[1]}")

    @property
    def transport(self) -> str:
        return self.partition(":")[0]

    @property
    def host(self) -> str:
        return self.partition(":")[2].rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Port; 0 if there is none."""
        port = self.rpartition(":")[2]
        return int(port) if port.isascii() and port.isdigit() else 0
