"""Identity of a phone across registrations. Pure.

A phone with a `+sip.instance` (RFC 5626) keeps that identity for ever. A phone without `+sip.instance` is known by its
contact only, and returns with another contact after a restart (a new port, a random user part). Deliveries that wait
for the phone must not be lost. A contact never seen before therefore inherits a device that has no binding: one heir
for each device, a phone of the same product first, then the device seen last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sipsms.core.registration import Binding, Device


def key_of(binding: Binding) -> tuple[str, bool]:
    """Return the device's key, and True if the key survives a restart of the phone."""
    if binding.instance:
        return binding.instance, True
    return binding.contact, False


def find(binding: Binding, devices: Iterable[Device]) -> Device | None:
    """Return the device that registered this binding before, or None."""
    key, _ = key_of(binding)
    return next((device for device in devices if device.key == key), None)


def inherit(binding: Binding, devices: Sequence[Device], bound: set[int]) -> Device | None:
    """Return the device that a new contact takes over, or None.

    `bound`: ids of devices that have a binding now.
    """
    if binding.instance:
        return None
    heirs = [device for device in devices if not device.stable and device.id not in bound]
    if not heirs:
        return None
    return max(
        heirs, key=lambda device: (_product(device.user_agent) == _product(binding.user_agent), device.last_seen)
    )


def successor(gone: Device, devices: Iterable[Device], bound: set[int]) -> Device | None:
    """Return the device under which a phone registered anew before its old binding expired.

    `gone`: the phone's old device. The result is a newer, registered device of the same product, or None.
    """
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
