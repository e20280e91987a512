"""Names of lanes: deliveries of one lane are sent one at a time, in the order of their ids. Pure."""

from __future__ import annotations


class LaneKey(str):
    """The name of a lane, as the store has it.

    `sip:7` is device 7, `sip/alice` an account that has no device yet, `COURIER/DESTINATION` and
    `COURIER/SOURCE/DESTINATION` what goes by other couriers. After that may come `~N` (one of several lanes to the
    same destination), `@TIME` (held until then) and `#ID` (a delivery that waits alone).
    """

    __slots__ = ()

    @classmethod
    def of_device(cls, device: int) -> LaneKey:
        return cls(f"sip:{device}")

    @classmethod
    def to(cls, courier: str, destination: str) -> LaneKey:
        return cls(f"{courier}/{destination}"[:128])  # the column has room for what may be added

    @classmethod
    def between(cls, courier: str, source: str, destination: str) -> LaneKey:
        """Messages of one pair of numbers stay in order at a carrier."""
        return cls(f"{courier}/{source}/{destination}")

    def branch(self, number: int) -> LaneKey:
        """Return one of several lanes to the same destination, for deliveries that need no order."""
        return LaneKey(f"{self}~{number}")

    def held(self, until: float) -> LaneKey:
        """Return the lane of a message that is held: what is written meanwhile does not wait for it."""
        return LaneKey(f"{self}@{until:.0f}")

    def aside(self, delivery: int) -> LaneKey:
        """Return the lane of a delivery alone, so that those behind it do not wait for it."""
        return self if self.is_aside else LaneKey(f"{self}#{delivery}")

    @property
    def device(self) -> int:
        """Device; 0 if it is no device's lane."""
        number = self[4:]
        return int(number) if self.startswith("sip:") and number.isdigit() else 0

    @property
    def held_until(self) -> float:
        """Time until which it is held; 0.0 if it is not."""
        until = self.partition("#")[0].rpartition("@")[2]
        return float(until) if "@" in self and until.isdigit() else 0.0

    @property
    def is_aside(self) -> bool:
        return "#" in self
