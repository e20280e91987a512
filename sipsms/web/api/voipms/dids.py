"""VoIP.ms' methods for numbers: getDIDsInfo, setSMS, setDIDInfo.

A URL whose flag is 0 is kept with its secrets, but nothing is sent there. Any other destination is switched off by
removing it. Settings that a request does not name stay. Settings for calls are returned with their defaults and cannot
be changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sipsms.accounts.directory import Directory
from sipsms.accounts.service import AccountService
from sipsms.core.account import Account, Callback, Did, Webhook
from sipsms.core.e164 import telephone_number
from sipsms.core.smpp_url import without_password
from sipsms.web.api.voipms.params import Answer, Call, Method, Params, Refused, Row, on

POP: Final = "1"  # number of the only server
_MODES: Final = {"1": "nanpa", "2": "e164"}

# VoIP.ms' further settings of a number; none has an effect here.
_CALLS: Final = {
    "description": "", "failover_busy": "none:", "failover_unreachable": "none:", "failover_noanswer": "none:",
    "voicemail": "0", "pop": POP, "dialtime": "60", "cnam": "0", "e911": "0", "callerid_prefix": "", "note": "",
    "billing_type": "1", "next_billing": "", "order_date": "", "record_calls": "0", "voicemail_threshold": "0",
    "inbound_dialing_mode": "", "port_out_pin": "", "transcribe": "0", "transcription_email": "",
    "transcription_locale": "", "transcription_redaction": "0", "transcription_sentiment": "0",
    "transcription_summary": "0", "transcription_start_delay": "0", "sms_available": "1",
}  # fmt: skip


class Target(NamedTuple):
    """A destination in setSMS: a flag and a value."""

    setting: str  # name of the setting in `store.dids.change_did`
    value: str
    flags: tuple[str, ...]
    bad_value: str  # status words
    bad_flag: str


_TARGETS: Final = (
    Target("emails", "email_address", ("email_enabled", "email_enable"), "invalid_email", "invalid_email_enable"),
    Target(
        "forward", "sms_forward", ("sms_forward_enable", "sms_forward_enabled"), "invalid_sms_forward",
        "invalid_forward_enable",
    ),
    Target(
        "callback", "url_callback", ("url_callback_enable", "url_callback_enabled"), "invalid_callback",
        "invalid_callback_enable",
    ),
    Target("webhook", "webhook", ("webhook_enabled", "webhook_enable"), "invalid_webhook", "invalid_webhook_enable"),
    Target(
        "sip_account", "sms_sipaccount", ("sms_sipaccount_enabled", "sms_sipaccount_enable"), "invalid_account",
        "invalid_account",
    ),
)  # fmt: skip
_URLS: Final = frozenset({"callback", "webhook"})  # destinations that keep their URL when switched off
# Setting -> status word.
BAD: Final = {one.setting: one.bad_value for one in _TARGETS} | {
    "smpp_url": "invalid_smpp_url", "smpp_username": "invalid_smpp_username", "smpp_password": "invalid_smpp_password",
}  # fmt: skip
_SMPP: Final = {"smpp_user": "smpp_username", "smpp_pass": "smpp_password", "smpp_url": "smpp_url"}


class Dids:
    def __init__(self, directory: Directory, service: AccountService) -> None:
        self._directory = directory
        self._service = service

    def methods(self) -> dict[str, Method]:
        return {"getDIDsInfo": self._list, "setSMS": self._set_sms, "setDIDInfo": self._set_info}

    async def _list(self, call: Call) -> Answer:
        params, owner = call.params, call.account.name
        number, client = params.number("no_did", "did"), params.text("client")
        named = "" if client in ("0", "all", owner) else client  # else a subaccount: list the numbers delivered to it
        dids = self._directory.dids_of(owner)
        found = [row_of(did) for did in dids if number in ("", did.number) and named in ("", did.sip_account)]
        if not found:
            raise Refused("no_did")
        return {"dids": found}

    def _did(self, call: Call) -> Did:
        """Return the requested DID. Raises Refused; the same for another customer's DID."""
        if not call.params.text("did"):
            raise Refused("missing_did")
        did = self._directory.did(call.params.number("invalid_did", "did"))
        if did is None or did.account != call.account.name:
            raise Refused("invalid_did", "none of the account's numbers")
        return did

    async def _set_sms(self, call: Call) -> Answer:
        did, params = self._did(call), call.params
        enable = params.flag("missing_enable", "enable")
        if enable is None:
            raise Refused("missing_enable")
        given: dict[str, Any] = {"sms_by_customer": enable}
        for target in _TARGETS:
            if target.setting in _URLS:
                given |= _url(params, target, did)
                continue
            value = _value(params, target)
            if value is not None:
                given[target.setting] = self._read(target, value, call.account)
            elif params.flag(target.bad_flag, *target.flags) and not getattr(did, target.setting):
                raise Refused(target.bad_value, f"{target.value} is empty")
        given |= _retry(params, did, given) | _mode(params, did, given) | _smpp(params)
        await self._service.change_did(did.number, given)
        return {}

    def _read(self, target: Target, value: str, account: Account) -> Any:
        """Return a value in the form of `store.dids.change_did`. Raises Refused."""
        if target.setting == "emails":
            return [one.strip() for one in value.replace(";", ",").split(",") if one.strip()]
        if target.setting == "forward":
            return _forward(value, target.bad_value)
        if target.setting == "sip_account" and value:
            named = self._directory.account(value)
            if named is None or named.customer != account.name:
                raise Refused("invalid_account", f"{value[:64]} is none of the account's subaccounts")
        return value

    async def _set_info(self, call: Call) -> Answer:
        """Change SMPP settings. Raises Refused if any other setting is not as displayed."""
        did = self._did(call)
        shown = row_of(did)
        smpp = _smpp(call.params)
        for name, value in shown.items():
            if name in ("smpp_enabled", *_SMPP):
                continue
            said = call.params.text(name)
            if name != "did" and said and said != value and not (said in ("no", "none") and value == "0"):
                raise Refused(f"invalid_{name}", "sipsms has no settings for calls")
        if smpp:
            await self._service.change_did(did.number, smpp)
        return {}


def _value(params: Params, target: Target) -> str | None:
    """Return a destination's new value; empty to switch it off, None to leave it."""
    flag = params.flag(target.bad_flag, *target.flags)
    if flag is False:
        return ""
    value = params.whole(target.bad_value, target.value)
    if value:
        return value
    return "" if flag is None and params.given(target.value) else None


def _url(params: Params, target: Target, did: Did) -> dict[str, Any]:
    """Return the change of a callback or webhook. A URL written back as it was read is not checked again."""
    flag = params.flag(target.bad_flag, *target.flags)
    value = params.whole(target.bad_value, target.value)
    endpoint: Callback | Webhook | None = getattr(did, target.setting)
    known = endpoint.url if endpoint is not None else ""
    if flag and not (value or known):
        raise Refused(target.bad_value, f"{target.value} is empty")
    if flag is None and not value:
        return {target.setting: ""} if params.given(target.value) else {}
    url = {target.setting: value} if value and value != known else {}
    return {**url, f"{target.setting}_on": flag is not False} if url or known else {}


def _forward(value: str, word: str) -> str:
    """Return a number that SMS can be forwarded to. Raises Refused for a short code or a name."""
    number = telephone_number(value) if value else ""
    if number is None:
        raise Refused(word, f"{value[:32]} is not a telephone number")
    return number


def _retry(params: Params, did: Did, given: Mapping[str, Any]) -> dict[str, bool]:
    """Return the setting for repeated calls until the page answers `ok`; empty without a URL."""
    retry = params.flag("invalid_callback_retry", "url_callback_retry")
    if retry is None or not given.get("callback", did.callback):
        return {}
    on = given.get("callback_on", did.callback is None or not did.callback.disabled)
    return {"callback_retry": retry, "callback_on": on}


def _mode(params: Params, did: Did, given: Mapping[str, Any]) -> dict[str, str]:
    """Return the dialing mode. A new webhook keeps the `dialmode` that was displayed before."""
    mode = params.text("dialmode")
    if mode and mode not in _MODES:
        raise Refused("invalid_dialmode", "dialmode is 1 (NANPA) or 2 (E.164)")
    if mode:
        return {"dialing_mode": _MODES[mode]}
    new = did.webhook is None and given.get("webhook")
    return {"dialing_mode": "nanpa"} if new and not did.dialing_mode else {}


def _smpp(params: Params) -> dict[str, Any]:
    """Return the SMPP settings for `store.dids.change_did`; an empty password, as displayed, changes nothing."""
    on = params.flag("invalid_smpp_enabled", "smpp_enabled", "smpp_enable")
    given: dict[str, Any] = {} if on is None else {"smpp": on}
    for name, setting in _SMPP.items():
        value = params.whole(BAD[setting], name)
        if value or (params.given(name) and setting != "smpp_password"):
            given[setting] = value
    return given


def row_of(did: Did) -> Row:
    """Return a DID as getDIDsInfo writes it; all values are texts."""
    callback, webhook, smpp = did.callback, did.webhook, did.smpp
    return {
        "did": did.number,
        "routing": f"account:{did.sip_account}" if did.sip_account else "none:",
        **_CALLS,
        "dialmode": "2" if did.dialing_mode == "e164" or (webhook and not did.dialing_mode) else "1",
        "mms_available": on(did.mms),
        "sms_enabled": on(did.sms),
        "sms_email": ",".join(did.emails),
        "sms_email_enabled": on(did.emails),
        "sms_forward": did.forward,
        "sms_forward_enabled": on(did.forward),
        "sms_url_callback": callback.url if callback else "",
        "sms_url_callback_enabled": on(callback and not callback.disabled),
        "sms_url_callback_retry": on(callback and callback.retry),
        "webhook": webhook.url if webhook else "",
        "webhook_enabled": on(webhook and not webhook.disabled),
        "sms_sipaccount": did.sip_account,
        "sms_sipaccount_enabled": on(did.sip_account),
        "smpp_enabled": on(smpp and smpp.enabled),
        "smpp_url": without_password(smpp.url) if smpp else "",
        "smpp_user": did.smpp_username,
        "smpp_pass": "",
    }
