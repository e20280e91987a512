"""Roles and users as values."""

from __future__ import annotations

import pytest

from sipsms.core.user import Role, User


def test_roles_have_the_names_that_commands_and_pages_use() -> None:
    assert [str(role) for role in Role] == ["operator", "reseller", "customer", "user"]
    with pytest.raises(ValueError):
        Role("admin")


def test_a_new_user_has_neither_password_nor_app() -> None:
    ana = User(1, "ana", "acme", Role.CUSTOMER)
    assert (ana.hash, ana.totp, ana.dids, ana.has_link) == ("", "", (), False)
