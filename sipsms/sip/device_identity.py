"""Which phone is this? Pure.

A phone with a `+sip.instance` (RFC 5626) is known by it for ever. One without is known by its contact only, and comes
back under another after a restart (a new port, a random user part). What waits for it must not be lost, so a contact
never seen before inherits from a device that has no binding left: one heir for one device, the same kind of phone
first, then the one seen last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sipsms.core.registration import Binding, Device


def key_of(binding: Binding) -> tuple[str, bool]:
    """The device's key and whether it survives a restart of the phone."""
    if binding.instance:
        return binding.instance, True
    return binding.contact, False


def find(binding: Binding, devices: Iterable[Device]) -> Device | None:
    """The device that registered this binding, if it was here before."""
    key, _ = key_of(binding)
    return next((device for device in devices if device.key == key), None)


def inherit(binding: Binding, devices: Sequence[Device], bound: set[int]) -> Device | None:
    """The device whose place a new contact takes. `bound`: ids of devices that have a binding now."""
    if binding.instance:
        return None
    heirs = [device for device in devices if not device.stable and device.id not in bound]
    if not heirs:
        return None
    return max(
        heirs, key=lambda device: (_product(device.user_agent) == _product(binding.user_agent), device.last_seen)
    )


def successor(gone: Device, devices: Iterable[Device], bound: set[int]) -> Device | None:
    """The phone that `gone` came back as before its old binding was over: newer, of the same kind, and registered."""
    if gone.stable:
        return None
    later = [
        device
        for device in devices
        if device.id != gone.id
        and not device.stable
        and device.id in bound
        and device.first_seen > gone.last_seen
        and _product(device.user_agent) == _product(gone.user_agent)
    ]
    return min(later, key=lambda device: device.first_seen, default=None)


def _product(user_agent: str) -> str:
    return user_agent.replace("/", " ").partition(" ")[0].lower()
