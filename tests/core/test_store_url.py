"""The store's URL, relative to the configuration or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipsms.core.store_url import DEFAULT, absolute


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        (DEFAULT, "sqlite:////var/lib/sipsms/sipsms.db"),
        ("sqlite:////x/s.db", "sqlite:////x/s.db"),
        ("sqlite:///s.db", "sqlite:////etc/sipsms/s.db"),
        ("sqlite:///data/s.db", "sqlite:////data/s.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("postgresql://h/d", "postgresql://h/d"),
    ],
)
def test_each_form_of_the_url(store: str, expected: str) -> None:
    assert absolute(store, Path("/etc/sipsms")) == expected
