"""An operator views the pages of a customer: with a reason, under a bar, and in the audit log."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.centre.browser import NewContext, violations

pytestmark = pytest.mark.e2e


def test_view_as_is_audited(contexts: NewContext) -> None:
    page: Any = contexts(as_="op").new_page()
    page.goto("/clients/acme")
    page.get_by_label("Reason").fill("ticket 4711: <b>not</b> delivered")
    page.get_by_role("button", name="View").click()
    bar = page.get_by_role("region", name="You view the pages of a customer")
    assert "You see the pages of acme until" in bar.inner_text()
    assert violations(page) == []
    page.goto("/people")
    assert page.get_by_role("button", name="Add").count() == 0
    bar.get_by_role("button", name="End the view").click()
    page.goto("/op/audit")
    row = page.get_by_role("row").filter(has_text="began to view the pages of acme").first
    assert "ticket 4711: <b>not</b> delivered" in row.inner_text()
    assert page.get_by_role("row").filter(has_text="ended the view of acme").count() >= 1
