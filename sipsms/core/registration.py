"""Bindings and devices of accounts (RFC 3261 section 10; "usrloc" in other servers)."""

from __future__ import annotations

from dataclasses import dataclass, field

from sipsms.core.flow_address import FlowAddress


@dataclass(slots=True)
class Binding:
    """A row of the location service (RFC 3261 section 10). Field names follow usrloc."""

    aor: str  # account name
    contact: str  # the URI exactly as registered, without <>
    expires_at: float
    call_id: str
    cseq: int
    received: FlowAddress  # source of the REGISTER
    path: tuple[str, ...] = ()
    q: float = 1.0
    instance: str = ""
    reg_id: int = 0
    user_agent: str = ""
    accept: str = ""
    flow: int = 0  # number of the connection in this process; 0 for UDP
    node: str = ""
    device: int = 0
    local: str = ""  # the listener that received it: "udp:0.0.0.0:5060"
    to_uri: str = ""  # the AOR as the phone wrote it in To, which the phone expects in requests
    params: tuple[tuple[str, str | None], ...] = field(default=())


def identity(binding: Binding) -> tuple[str, str, int]:
    """Return the parts that identify a binding within its AOR: contact, instance, reg-id."""
    return binding.contact, binding.instance, binding.reg_id


@dataclass(frozen=True, slots=True)
class Device:
    """A phone that has registered before. It gets the messages that came while it was away."""

    id: int
    aor: str
    key: str  # the +sip.instance, else the contact
    user_agent: str
    first_seen: float
    last_seen: float
    stable: bool  # has an instance id, so the key survives a restart of the phone
