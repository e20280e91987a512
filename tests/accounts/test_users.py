"""Changes to people: links, passwords, authenticator apps, and their rows in the audit log."""

from __future__ import annotations

import pyotp
import pytest

from sipsms.accounts.users import GRANTS, LINK_LASTS, By, Conflict
from sipsms.core.errors import AdminError, BadValue
from sipsms.core.user import Role

from .people import HOME, OP, PASSWORD, SALES, WORKSHOP, People


async def actions(people: People) -> list[tuple[str, str, str]]:
    return [(row["who"], row["action"], row["subject"]) for row in reversed(await people.users.audit(None, 99))]


async def test_a_new_user_sets_a_password_by_a_link_that_works_once(people: People) -> None:
    token = await people.users.add("luis", "acme", Role.USER, OP, email="luis@example.net", dids=[SALES])
    with pytest.raises(BadValue, match="10 characters"):
        await people.users.set_password_by_link(token, "short", "192.0.2.1")
    assert (await people.users.set_password_by_link(token, PASSWORD, "192.0.2.1")).name == "luis"
    with pytest.raises(AdminError):
        await people.users.set_password_by_link(token, "other plain words", "192.0.2.1")
    assert (await people.enter("luis")).user.dids == (SALES,)
    assert await actions(people) == [("op", "user_added", "luis"), ("luis", "password_set", "luis")]


async def test_a_link_ends(people: People) -> None:
    token = await people.users.add("luis", "acme", Role.USER, OP)
    people.clock.now += LINK_LASTS
    assert await people.users.link_of(token) is None
    with pytest.raises(AdminError):
        await people.users.set_password_by_link(token, PASSWORD, "192.0.2.1")


async def test_a_new_link_keeps_the_password_until_it_is_used_and_then_ends_all_sessions(people: People) -> None:
    ana = await people.add("ana")
    made = await people.enter("ana")
    token = await people.users.make_link(ana, OP)
    assert (await people.users.by_name("ana")).has_link
    assert await people.sign_in.find(made.token, HOME) is not None
    await people.users.set_password_by_link(token, "other plain words", "192.0.2.1")
    assert await people.sign_in.find(made.token, HOME) is None
    assert not (await people.users.by_name("ana")).has_link


async def test_a_changed_password_ends_the_other_sessions(people: People) -> None:
    ana = await people.add("ana")
    here, there = await people.enter("ana"), await people.enter("ana")
    assert await people.users.set_password(ana, here.session, "other plain words", By("ana")) == 1
    assert await people.sign_in.find(here.token, HOME) is not None
    assert await people.sign_in.find(there.token, HOME) is None
    with pytest.raises(Conflict):
        await people.users.set_password(ana, here.session, "third plain words", By("ana"))


async def test_the_name_and_the_address_are_no_password(people: People) -> None:
    token = await people.users.add("bartholomew", "acme", Role.USER, OP, email="barty.longname@example.net")
    for password in ("bartholomew1", "Barty.Longname", "barty.longname@example.net"):
        with pytest.raises(BadValue):
            await people.users.set_password_by_link(token, password, "192.0.2.1")


async def test_a_change_names_the_version_that_it_was_made_from(people: People) -> None:
    luis = await people.add("luis", Role.USER, dids=[SALES])
    changed = await people.users.change(luis, luis.version, OP, email="l@example.net", role=Role.USER, dids=[WORKSHOP])
    assert (changed.email, changed.dids) == ("l@example.net", (WORKSHOP,))
    with pytest.raises(Conflict):
        await people.users.change(luis, luis.version, OP, email="", role=Role.USER, dids=[])
    raised = await people.users.change(changed, changed.version, OP, email="", role=Role.CUSTOMER, dids=[SALES])
    assert (raised.role, raised.dids) == (Role.CUSTOMER, ())
    with pytest.raises(BadValue):
        await people.users.change(raised, raised.version, OP, email="", role=Role.OPERATOR, dids=[])


async def test_an_app_is_confirmed_by_a_code_and_gives_recovery_codes(people: People) -> None:
    ana = await people.users.begin_totp(await people.add("ana"))
    assert (await people.users.begin_totp(ana)).totp_new == ana.totp_new, "the picture stays the same"
    assert ana.totp == ""
    with pytest.raises(BadValue):
        await people.users.confirm_totp(ana, "000000", OP)
    codes = await people.users.confirm_totp(ana, pyotp.TOTP(ana.totp_new).at(int(people.clock())), OP)
    after = await people.users.by_name("ana")
    assert (after.totp, after.totp_new, len(codes), len(after.recovery.split())) == (ana.totp_new, "", 8, 8)
    assert not any(code in after.recovery for code in codes)
    fresh = await people.users.new_recovery_codes(after, OP)
    assert not set(fresh) & set(codes)
    await people.users.end_totp(after, OP)
    ended = await people.users.by_name("ana")
    assert (ended.totp, ended.recovery) == ("", "")
    with pytest.raises(AdminError):
        await people.users.new_recovery_codes(ended, OP)


async def test_an_operator_keeps_the_app(people: People) -> None:
    with pytest.raises(AdminError, match="operators"):
        await people.users.end_totp(await people.add("boss", Role.OPERATOR), OP)


async def test_a_lost_app_is_removed_with_all_sessions(people: People) -> None:
    ana = await people.users.begin_totp(await people.add("ana"))
    made = await people.enter("ana")
    await people.users.confirm_totp(ana, pyotp.TOTP(ana.totp_new).at(int(people.clock())), OP)
    await people.users.reset_totp(await people.users.by_name("ana"), OP)
    assert await people.sign_in.find(made.token, HOME) is None
    assert (await people.enter("ana")).session.stage == ""


async def test_people_are_removed_and_their_sessions_end(people: People) -> None:
    ana = await people.add("ana")
    made = await people.enter("ana")
    assert await people.users.end_sessions(ana, OP) == 1
    assert await people.sign_in.find(made.token, HOME) is None
    await people.users.remove(ana, OP)
    assert await people.users.of_customer("acme") == []
    assert (await actions(people))[-2:] == [("op", "sessions_ended", "ana"), ("op", "user_removed", "ana")]


async def test_how_the_pages_look(people: People) -> None:
    luis = await people.add("luis", Role.USER, dids=[SALES])
    look = await people.users.set_look(luis, tz="Europe/Madrid", lang="en", theme="dark")
    assert (look.tz, look.theme, look.dids) == ("Europe/Madrid", "dark", (SALES,))


def test_nobody_gives_more_than_they_have() -> None:
    order = list(Role)
    for role, granted in GRANTS.items():
        assert all(order.index(one) >= order.index(role) for one in granted)
    assert GRANTS[Role.USER] == ()
