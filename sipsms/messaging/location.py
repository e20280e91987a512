"""The location service as messaging sees it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from sipsms.core.registration import Binding, Device
from sipsms.store.reassign import Ended


class Location(Protocol):
    """The location service: who is reachable where."""

    def bindings(self, aor: str, now: float) -> list[Binding]: ...

    def devices(self, aor: str) -> list[Device]: ...

    def device_of_instance(self, aor: str, instance: str) -> int:
        """The device with this instance id, without <>; 0 if there is none."""

    def on_flow(self, received: str, local: str, number: int, now: float) -> list[Binding]:
        """Return the bindings that were registered by one flow."""

    def binding_of(self, device: int, now: float) -> Binding | None: ...

    def ways(self, device: int, now: float) -> list[Binding]:
        """All ways to one device, the newest first."""

    async def apply(self, aor: str, updated: Sequence[Binding], removed: Sequence[Binding], now: float) -> list[Device]:
        """Take over what the registrar decided; the devices that can be reached now. One at a time for an AOR: `turn`.

        Raises Unavailable, with nothing changed.
        """

    async def remove_device(self, aor: str, device: int, now: float) -> Ended:
        """Remove a device with its bindings, and end what waits for it. Call it in the AOR's `turn`."""

    def turn(self, aor: str) -> AbstractAsyncContextManager[None]:
        """Changes to one AOR come one after the other, in the order they asked."""

    async def drop(self, binding: Binding) -> None:
        """A phone said that it is not there."""
