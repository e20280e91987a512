"""VoIP.ms' methods for subaccounts, registrations and the account itself.

A subaccount's id is computed from its name, so it never changes and is not stored. sipsms stores hashes of passwords
and cannot return one. sipsms has no charges, so the balance is zero. Settings for calls have no effect, but they are
stored and returned.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from sipsms.accounts.directory import Directory
from sipsms.accounts.service import AccountService
from sipsms.core.account import Account
from sipsms.core.registration import Binding
from sipsms.store import voipms_fields
from sipsms.store.store import Store
from sipsms.web.api.voipms.dids import POP
from sipsms.web.api.voipms.params import Answer, Call, Method, Params, Refused, Row, wall

MAX_NAME: Final = 64
_USERNAME: Final = re.compile(r"[A-Za-z0-9.-]{1,48}")  # no `_`: it separates the customer's name from the username
_PUNCTUATION: Final = "!#$%&/()=?*[]_:.,{}+-"
_COMMON: Final = frozenset({"password", "qwerty", "letmein", "welcome", "admin", "iloveyou", "abc"})

# Each rule with its status word.
_PASSWORD: Final = (
    (re.compile(rf"[A-Za-z0-9{re.escape(_PUNCTUATION)}]*"), "invalid_password_ilegal_characters"),
    (re.compile(r".{8,}"), "invalid_password_lessthan_8characters_long"),
    (re.compile(r".*[A-Z].*"), "invalid_password_missing_uppercase"),
    (re.compile(r".*[a-z].*"), "invalid_password_missing_lowercase"),
    (re.compile(r".*[0-9].*"), "invalid_password_missing_number"),
    (re.compile(r".{8,128}"), "weak_password"),
)

# VoIP.ms' further settings of a subaccount, with their defaults.
_USUAL: Final = {
    "description": "", "protocol": "1", "auth_type": "1", "password": "", "ip": "", "device_type": "2",
    "canada_routing": "1", "lock_international": "1", "international_route": "1", "music_on_hold": "default",
    "language": "en", "allowed_codecs": "ulaw", "dtmf_mode": "auto", "nat": "yes", "sip_traffic": "0",
    "max_expiry": "3600", "rtp_timeout": "60", "rtp_hold_timeout": "600", "ip_restriction": "",
    "enable_ip_restriction": "0", "pop_restriction": "", "enable_pop_restriction": "0", "record_calls": "0",
    "allow225": "0", "internal_extension": "", "internal_voicemail": "", "internal_dialtime": "60",
    "internal_cnam": "", "enable_internal_cnam": "0", "internal_extension_location": "0", "dialing_mode": "0",
    "default_e911": "", "call_pickup_behavior": "1", "parking_lot": "", "tfcarrier": "0",
    "transcription_start_delay": "0", "reseller_client": "0",
}  # fmt: skip

_FIXED: Final = ("protocol", "auth_type", "password")
KEPT: Final = tuple(name for name in _USUAL if name not in _FIXED)
MAX_FIELD: Final = 255  # characters of one setting

# Methods for features that sipsms does not have: an empty list, in each method's words.
NOTHING: Final = {
    "getCDR": "no_cdr", "getResellerCDR": "no_cdr", "getCallTypes": "no_cdr", "getCallAccounts": "no_cdr",
    "getVoicemails": "no_mailbox", "getVoicemailFolders": "no_mailbox", "getVoicemailMessages": "no_messages",
    "getVoicemailMessageFile": "no_messages", "getCallRecordings": "no_recording", "getRecordings": "no_recording",
    "getClients": "no_client", "getClientPackages": "no_package", "getPackages": "no_package",
    "getResellerBalance": "no_client", "getBalanceManagement": "no_client", "getForwardings": "no_forwarding",
    "getRingGroups": "no_ringgroup", "getIVRs": "no_ivr", "getQueues": "no_queue", "getCallHuntings": "no_callhunting",
    "getTimeConditions": "no_timecondition", "getPhonebook": "no_phonebook", "getCallerIDFiltering": "no_filter",
    "getDISAs": "no_disa", "getCallbacks": "no_callback", "getSIPURIs": "no_sipuri", "getStaticMembers": "no_member",
    "getConference": "no_conference", "getConferenceMembers": "no_member", "getSequences": "no_sequences",
    "getConferenceRecordings": "no_recording", "getFaxNumbersInfo": "no_numbers", "getFaxMessages": "no_message",
    "getTransactionHistory": "no_transactions", "getCharges": "no_charges", "getDeposits": "no_deposits",
    "getPortability": "no_portability", "getLNPList": "no_lnp", "getRateCentersUSA": "no_rate",
    "getTerminationRates": "no_rate", "getRates": "no_rate", "getBackOrders": "no_did", "getDIDCountries": "no_did",
    "getDIDvPRI": "no_did",
}  # fmt: skip


class Place(NamedTuple):
    """This server as an entry of the list of servers."""

    hostname: str
    address: str = ""


class Accounts:
    def __init__(
        self, directory: Directory, service: AccountService, store: Store,
        bindings: Callable[[str], Sequence[Binding]], place: Callable[[], Place],
        sent_today: Callable[[str], Awaitable[int]],
    ) -> None:  # fmt: skip
        """`bindings` returns an account's current bindings. `sent_today` returns the messages sent by the APIs; raises
        Unavailable."""
        self._directory = directory
        self._service = service
        self._store = store
        self._bindings = bindings
        self._place = place
        self._sent_today = sent_today

    def methods(self) -> dict[str, Method]:
        return {
            "getSubAccounts": self._list, "createSubAccount": self._create, "setSubAccount": self._set,
            "delSubAccount": self._remove, "getRegistrationStatus": self._registrations, "getBalance": self._balance,
            "getServersInfo": self._servers, "getIP": self._ip,
            **{name: _nothing(word) for name, word in NOTHING.items()},
        }  # fmt: skip

    # --- subaccounts ---

    async def _list(self, call: Call) -> Answer:
        """Return subaccounts, all or the one with a login. The parameter is never read as an id."""
        named = call.params.text("account")
        owner = call.account.name
        found = [one for one in self._directory.subaccounts(owner) if named in ("", one.name, _suffix(one))]
        if not found:
            raise Refused("no_subaccount" if named else "no_account")
        written = await self._store.read(lambda db: voipms_fields.written(db, owner))
        rows = [_row(one, written.get(one.name, {})) for one in found]
        return {"accounts": rows, "subaccounts": rows}

    async def _create(self, call: Call) -> Answer:
        params, owner = call.params, call.account.name
        username = params.whole("invalid_username", "username")
        if not username:
            raise Refused("missing_username")
        name = f"{owner}_{username}"
        if not _USERNAME.fullmatch(username) or len(name) > MAX_NAME:
            raise Refused("invalid_username", "letters, digits, - and . only; with the account's name at most 64")
        self._check_settings(params)
        password = params.whole("weak_password", "password")
        if not password:
            raise Refused("missing_password")
        check_password(password, username)
        caller_id = self._caller_id(call)
        number = identity(name)
        if self._directory.account(name) or any(identity(one.name) == number for one in self._subaccounts(call)):
            raise Refused("used_username")
        await self._service.add_account(name, password, parent=owner, caller_id=caller_id, fields=_kept(params))
        return {"id": number, "account": name}

    def _check_settings(self, params: Params) -> None:
        """Check settings that sipsms cannot change. Raises Refused."""
        if params.text("protocol") not in ("", "1"):
            raise Refused("invalid_protocol", "1 (SIP) only")
        if params.text("auth_type") not in ("", "1"):
            raise Refused("invalid_authtype", "1 (user and password) only")
        expiry = params.text("max_expiry")
        if expiry and not (expiry.isascii() and expiry.isdigit() and 60 <= int(expiry[:9]) <= 3600):
            raise Refused("invalid_max_expiry", "from 60 to 3600 seconds")

    def _caller_id(self, call: Call) -> str:
        number = call.params.number("invalid_callerid", "callerid_number")
        did = self._directory.did(number) if number else None
        if number and (did is None or did.account != call.account.name):
            raise Refused("invalid_callerid", f"{number} is none of the account's numbers")
        return number

    def _subaccounts(self, call: Call) -> list[Account]:
        return self._directory.subaccounts(call.account.name)

    def _named(self, call: Call) -> Account:
        """Return the subaccount with the given id. Raises Refused, also for another customer's."""
        given = call.params.text("id")
        if not given:
            raise Refused("missing_id")
        found = next((one for one in self._subaccounts(call) if identity(one.name) == given), None)
        if found is None:
            raise Refused("invalid_id", "none of the account's subaccounts")
        return found

    async def _set(self, call: Call) -> Answer:
        """Change a subaccount. Absent settings stay; an empty password changes nothing."""
        account, params = self._named(call), call.params
        self._check_settings(params)
        password = params.whole("weak_password", "password")
        if password:
            check_password(password, _suffix(account))
        caller_id = self._caller_id(call)
        is_new = params.given("callerid_number") and caller_id != account.caller_id
        await self._service.change_subaccount(
            account.name, caller_id=caller_id if is_new else None, password=password or None, fields=_kept(params)
        )
        return {}

    async def _remove(self, call: Call) -> Answer:
        await self._service.remove_account(self._named(call).name)
        return {}

    # --- registrations ---

    async def _registrations(self, call: Call) -> Answer:
        named = call.params.text("account")
        if not named:
            raise Refused("missing_account")
        account = self._directory.account(named)
        if account is None or account.customer != call.account.name:
            raise Refused("invalid_account", "neither the account nor one of its subaccounts")
        server = _server(self._place())
        rows = [{**server, **_registration(one)} for one in self._bindings(account.name)]
        return {
            "registered": "yes" if rows else "no", "rerouted": "0", "from_server_pop": POP if rows else "",
            "registrations": rows,
        }  # fmt: skip

    # --- the account, the server ---

    async def _balance(self, call: Call) -> Answer:
        balance = {"current_balance": "0.000000"}
        if call.params.flag("missing_params", "advanced"):
            balance |= {
                "spent_total": "0.000000", "calls_total": "0", "time_total": "00:00:00", "spent_today": "0.000000",
                "calls_today": "0", "time_today": "00:00:00",
                "messages_today": str(await self._sent_today(call.account.name)),
            }  # fmt: skip
        return {"balance": balance}

    async def _servers(self, call: Call) -> Answer:
        if call.params.text("server_pop") not in ("", POP):
            raise Refused("invalid_serverpop")
        return {"servers": [{**_server(self._place()), "server_recommended": "yes"}]}

    async def _ip(self, call: Call) -> Answer:
        return {"ip": call.address}


def _nothing(word: str) -> Method:
    async def empty(call: Call) -> Answer:
        raise Refused(word)

    return empty


def identity(name: str) -> str:
    """Return a subaccount's id: a number below 2**48, because some clients read it as a number."""
    return str(int.from_bytes(blake2b(name.encode(), digest_size=6).digest(), "big"))


def _suffix(account: Account) -> str:
    """Return the username: the login without the customer's name in front."""
    return account.name.removeprefix(f"{account.parent}_")


def check_password(password: str, username: str) -> None:
    """Check VoIP.ms' rules for passwords. Raises Refused with the first broken rule."""
    for rule, word in _PASSWORD:
        if not rule.fullmatch(password):
            raise Refused(word)
    bare = password.lower().rstrip("0123456789" + _PUNCTUATION)
    if bare in _COMMON or bare == username.lower() or len(set(password)) < 5:
        raise Refused("weak_password", "too common")


def _kept(params: Params) -> dict[str, str]:
    """Return the given settings that are stored without effect. Raises Refused."""
    found = {}
    for name in KEPT:
        if params.given(name):
            value = found[name] = params.text(name)
            if len(value) > MAX_FIELD or not value.isprintable():
                raise Refused(f"invalid_{name}", f"at most {MAX_FIELD} characters, and no control characters")
    return found


def _row(account: Account, written: Mapping[str, str]) -> Row:
    return {
        "id": identity(account.name),
        "account": account.name,
        "username": _suffix(account),
        **_USUAL,
        **written,
        "callerid_number": account.caller_id,
    }


def _server(place: Place) -> Row:
    return {
        "server_name": place.hostname, "server_shortname": place.hostname.partition(".")[0],
        "server_hostname": place.hostname, "server_ip": place.address, "server_country": "", "server_pop": POP,
    }  # fmt: skip


def _registration(binding: Binding) -> Row:
    received = binding.received
    return {
        "register_ip": received.host, "register_port": str(received.port), "register_next": wall(binding.expires_at),
        "register_protocol": "SIP", "register_transport": received.transport.upper(),
        "register_useragent": binding.user_agent,
    }  # fmt: skip
