"""Bindings of accounts."""

from __future__ import annotations

from dataclasses import replace

from sipsms.core.flow_address import FlowAddress
from sipsms.core.registration import Binding, identity


def test_a_binding_is_known_by_its_contact_and_outbound_parameters() -> None:
    binding = Binding("alice", "sip:a@192.0.2.1", 1.0, "c", 1, FlowAddress.of("udp", ("192.0.2.1", 5060)))
    assert identity(replace(binding, expires_at=2.0, call_id="d", cseq=7)) == identity(binding)
    for other in (
        replace(binding, contact="sip:b@192.0.2.1"),
        replace(binding, instance="x"),
        replace(binding, reg_id=1),
    ):
        assert identity(other) != identity(binding)
