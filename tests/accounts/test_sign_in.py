"""Sign-in: names, passwords, codes, sessions, pauses, and the pages of a customer shown to somebody else."""

from __future__ import annotations

import asyncio

import pyotp
import pytest

from sipsms.accounts.sign_in import CODE, ENROL, VIEW, Place, SignInRefused
from sipsms.core.errors import AdminError, BadValue
from sipsms.core.user import Role, User
from sipsms.store import accounts
from sipsms.store.sessions import DAY, IDLE, MONTH, STEP

from .people import HOME, OP, PASSWORD, STRANGER, People


async def wrong(people: People, name: str, place: Place = STRANGER, password: str = "wrong") -> SignInRefused:
    with pytest.raises(SignInRefused) as refused:
        await people.sign_in.sign_in(name, password, place)
    return refused.value


async def with_app(people: People, name: str, role: Role = Role.CUSTOMER) -> tuple[User, list[str]]:
    user = await people.users.begin_totp(await people.add(name, role))
    code = pyotp.TOTP(user.totp_new).at(int(people.clock()))
    codes = await people.users.confirm_totp(user, code, OP)
    people.clock.now += 60
    return await people.users.by_name(name), codes


async def test_a_session_is_found_by_its_token_and_the_store_has_only_the_hash(people: People) -> None:
    ana = await people.add("ana", email="ana@example.net")
    for name in ("ana", "ANA", "Ana@Example.net"):
        made = await people.enter(name)
        assert made.session.stage == ""
        assert await people.sign_in.find(made.token, HOME) == (made.session, ana)
        assert len(made.token) >= 32, "192 bits"
        assert made.token not in made.session.hash
        assert await people.sign_in.find(made.session.hash, HOME) is None
    assert await people.sign_in.find("", HOME) is None


async def test_wrong_passwords_unknown_names_and_disabled_customers_look_alike(people: People) -> None:
    await people.add("ana")
    first, second = await wrong(people, "ana"), await wrong(people, "nobody")
    assert (first.tries, first.pause, str(first)) == (second.tries, second.pause, str(second)) == (4, 0, str(first))
    await people.store.write(lambda db: accounts.set_account(db, "acme", enabled=False))
    await people.refresh()
    third = await wrong(people, "ana", HOME, PASSWORD)
    assert str(third) == str(first)


async def test_a_disabled_customer_ends_the_access_of_its_people(people: People) -> None:
    await people.add("ana")
    made = await people.enter("ana")
    await people.store.write(lambda db: accounts.set_account(db, "acme", enabled=False))
    await people.refresh()
    assert await people.sign_in.find(made.token, HOME) is None


async def test_a_user_without_a_password_cannot_sign_in(people: People) -> None:
    await people.users.add("new", "acme", Role.USER, OP)
    assert (await wrong(people, "new", HOME, "")).tries == 4


async def test_pauses_are_told_and_a_right_password_waits_too(people: People) -> None:
    await people.add("ana")
    told = [(refused.tries, refused.pause) for refused in [await wrong(people, "ana") for _ in range(5)]]
    assert told == [(4, 0), (3, 0), (2, 0), (1, 0), (0, 60)]
    paused = await wrong(people, "ana", STRANGER, PASSWORD)
    assert (paused.paused, paused.pause) == (True, 60)
    people.clock.now += 60
    assert (await people.enter("ana", STRANGER)).user.name == "ana"


async def test_strangers_do_not_lock_out_a_known_network(people: People) -> None:
    await people.add("ana")
    await people.enter("ana")
    for _ in range(6):
        await wrong(people, "ana")
    assert (await people.enter("ana")).user.name == "ana"


async def test_a_network_is_known_after_a_restart_by_its_session(people: People) -> None:
    await people.add("ana")
    await people.enter("ana")
    people.sign_in._familiar.clear()
    for _ in range(6):
        await wrong(people, "ana")
    assert (await people.enter("ana")).user.name == "ana"


async def test_tries_at_the_same_time_are_counted_before_they_are_looked_at(people: People) -> None:
    await people.add("ana")
    tries = (people.sign_in.sign_in("ana", f"wrong{number}", STRANGER) for number in range(20))
    refused = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(one, SignInRefused) and not one.paused for one in refused) == 5


async def test_the_second_step_needs_a_code_that_works_once(people: People) -> None:
    user, _ = await with_app(people, "ana")
    half = await people.enter("ana")
    assert half.session.stage == CODE
    code = pyotp.TOTP(user.totp).at(int(people.clock()))
    done = await people.sign_in.enter_code(half.session, code, HOME)
    assert done.session.stage == ""
    assert done.token != half.token
    assert await people.sign_in.find(half.token, HOME) is None, "a new id at the second step"
    again = await people.enter("ana")
    with pytest.raises(SignInRefused):
        await people.sign_in.enter_code(again.session, code, HOME)


async def test_a_half_session_ends_soon_and_is_not_listed(people: People) -> None:
    await with_app(people, "ana")
    half = await people.enter("ana", stay=True)
    assert list(await people.users.sessions(half.user)) == []
    people.clock.now += STEP
    assert await people.sign_in.find(half.token, HOME) is None


async def test_right_passwords_give_no_further_tries_at_codes(people: People) -> None:
    await with_app(people, "ana")
    left = []
    for _ in range(5):
        half = await people.enter("ana", STRANGER)
        with pytest.raises(SignInRefused) as refused:
            await people.sign_in.enter_code(half.session, "000000", STRANGER)
        left.append(refused.value.tries)
    assert left == [4, 3, 2, 1, 0]
    with pytest.raises(SignInRefused) as refused:
        await people.enter("ana", STRANGER)
    assert refused.value.paused


async def test_a_recovery_code_works_once(people: People) -> None:
    _, codes = await with_app(people, "ana")
    half = await people.enter("ana")
    assert (await people.sign_in.enter_code(half.session, codes[0].upper(), HOME)).session.stage == ""
    half = await people.enter("ana")
    with pytest.raises(SignInRefused):
        await people.sign_in.enter_code(half.session, codes[0], HOME)
    assert (await people.sign_in.enter_code(half.session, codes[1], HOME)).session.stage == ""


async def test_an_operator_has_to_set_up_an_app_first(people: People) -> None:
    await people.add("boss", Role.OPERATOR)
    half = await people.enter("boss")
    assert half.session.stage == ENROL
    with pytest.raises(AdminError):
        await people.sign_in.enrolled(half.session, HOME)
    user = await people.users.begin_totp(half.user)
    await people.users.confirm_totp(user, pyotp.TOTP(user.totp_new).at(int(people.clock())), OP)
    assert (await people.sign_in.enrolled(half.session, HOME)).session.stage == ""


async def test_how_long_sessions_last(people: People) -> None:
    await people.add("ana")
    short, long = await people.enter("ana"), await people.enter("ana", stay=True)
    assert (short.session.ends_at, long.session.ends_at) == (people.clock() + DAY, people.clock() + MONTH)
    people.clock.now += IDLE
    assert await people.sign_in.find(short.token, HOME) is None
    assert await people.sign_in.find(long.token, HOME) is not None
    await people.sign_in.forget()
    assert [one.hash for one in await people.users.sessions(long.user)] == [long.session.hash]


async def test_requests_keep_a_session_alive(people: People) -> None:
    await people.add("ana")
    made = await people.enter("ana")
    for _ in range(2):
        people.clock.now += IDLE - 1
        if await people.sign_in.find(made.token, STRANGER) is None:
            break
    assert people.clock() < made.session.ends_at
    (shown,) = await people.users.sessions(made.user)
    assert shown.address == STRANGER.address
    people.clock.now = made.session.ends_at
    assert await people.sign_in.find(made.token, HOME) is None


async def test_sessions_are_ended_one_by_one_and_all_others(people: People) -> None:
    await people.add("ana")
    await people.add("luis", Role.USER)
    first, second, third = [await people.enter("ana") for _ in range(3)]
    luis = await people.enter("luis")
    assert await people.sign_in.end_session(luis.user, first.session.hash) is False
    assert await people.sign_in.end_session(first.user, first.session.hash) is True
    assert await people.sign_in.find(first.token, HOME) is None
    assert await people.sign_in.end_others(second.user, second.session) == 1
    assert await people.sign_in.find(third.token, HOME) is None
    await people.sign_in.sign_out(second.session)
    assert await people.sign_in.find(second.token, HOME) is None
    assert await people.sign_in.find(luis.token, HOME) is not None


async def test_a_hash_of_older_parameters_is_replaced_at_sign_in(people: People) -> None:
    from argon2 import PasswordHasher

    ana = await people.add("ana")
    people.passwords._hasher = PasswordHasher(time_cost=2, memory_cost=8, parallelism=1)
    await people.enter("ana")
    fresh = await people.users.by_name("ana")
    assert ("t=1" in ana.hash, "t=2" in fresh.hash) == (True, True)
    assert (await people.enter("ana")).user.name == "ana"


async def test_a_view_of_a_customer_needs_a_reason_and_is_in_the_audit_log(people: People) -> None:
    made = await people.enter((await people.add("ana")).name)
    with pytest.raises(BadValue):
        await people.sign_in.view_as(made.session, "other", "  ", OP)
    await people.sign_in.view_as(made.session, "other", " ticket 7 ", OP)
    found = await people.sign_in.find(made.token, HOME)
    assert found is not None
    assert (found[0].viewed, found[0].view_ends) == ("other", people.clock() + VIEW)
    await people.sign_in.end_view(found[0], OP)
    rows = await people.users.audit(None, 2)
    assert [(row["action"], row["subject"], row["detail"]) for row in rows] == [
        ("view_as_ended", "other", ""), ("view_as", "other", "ticket 7"),
    ]  # fmt: skip


async def test_the_password_is_asked_again_with_the_same_pauses(people: People) -> None:
    ana = await people.add("ana")
    await people.sign_in.check_password(ana, PASSWORD, STRANGER)
    for _ in range(5):
        with pytest.raises(SignInRefused) as refused:
            await people.sign_in.check_password(ana, "wrong", STRANGER)
    assert refused.value.pause == 60
