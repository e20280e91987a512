"""Settings of SIP; app/test_settings has the reading of the file."""

from __future__ import annotations

import pytest
from pydantic import SecretStr, ValidationError

from sipsms.sip.settings import SipSettings


def test_servers_with_one_secret_accept_nonces_of_each_other() -> None:
    first, second = SipSettings(nonce_secret=SecretStr("a")), SipSettings(nonce_secret=SecretStr("b"))
    assert first.nonce_key() == first.nonce_key() != second.nonce_key()
    assert len(first.nonce_key()) == 32


def test_without_a_secret_each_start_has_its_own_key() -> None:
    assert SipSettings().nonce_key() != SipSettings().nonce_key()


def test_expiries_out_of_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="min_expires <= default_expires <= max_expires"):
        SipSettings(min_expires=600, default_expires=60)
