"""The audit log as a page."""

from __future__ import annotations

from tests.support.centre.site import CentreSite


def test_the_audit_log_has_pages(own_centre: CentreSite) -> None:
    op = own_centre.visitor("op")
    for _ in range(51):
        op.post(f"/people/{own_centre.ids['luis']}/end-sessions")
    first = op.get("/op/audit")
    assert first.text.count("<tr>") == 51, "fifty rows and the head"
    (older,) = first.all(r'href="(/op/audit\?before=\d+)"')
    assert "signed a person out everywhere luis" in op.get(older).said
    assert op.get("/op/audit?before=1").said.count("Nothing yet") == 1
    assert op.get("/op/audit?before=x").status == 404
