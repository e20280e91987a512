"""VoIP.ms' REST API at /api/v1/rest.php.

Programs written for that carrier work here after a change of host name. The answer is always HTTP 200 with a JSON
object, even for errors: clients repeat a request that was answered otherwise, and a message would be sent twice. A
client without a correct password learns nothing, not even the names of methods.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sipsms.accounts.auth import Access, DenialCode, Denied
from sipsms.accounts.service import Full
from sipsms.core import log
from sipsms.core.account import Account
from sipsms.core.errors import AdminError, BadValue, Unavailable
from sipsms.web.api.voipms.dids import BAD
from sipsms.web.api.voipms.messages import ORIGIN
from sipsms.web.api.voipms.params import Answer, Call, Method, Params, Refused
from sipsms.web.json_response import compact
from sipsms.web.request import BadRequest, Fields, Held, Room, address_of, fields_of, query_of
from sipsms.web.response_ack import when_heard

PATH: Final = "/api/v1/rest.php"
MEMORY: Final = 64 * 2**20  # bytes of all request bodies together
PATIENCE: Final = 60.0  # seconds for a body to arrive
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_SUCCESS: Final = b'{"status":"success"}'
_DENIED: Final = {
    DenialCode.MISSING: "missing_credentials",
    DenialCode.WRONG: "invalid_credentials",
    DenialCode.OFF: "api_not_enabled",
    DenialCode.ADDRESS: "ip_not_enabled",
    DenialCode.TOO_MANY: "api_limit_exceeded",
}
LATER: Final = "method_maintenance"  # a temporary failure

# Invalid setting -> status word; method -> status word of any other change that cannot be made.
_SETTINGS: Final = {
    **BAD, "callback_retry": "invalid_callback_retry", "dialing_mode": "invalid_dialmode",
    "sms_by_customer": "sms_apply_regulations", "internal_extension": "used_extension",
}  # fmt: skip
_CHANGES: Final = {
    "setSMS": "invalid_did", "setDIDInfo": "invalid_did", "createSubAccount": "used_username",
    "setSubAccount": "invalid_account", "delSubAccount": "invalid_account",
}  # fmt: skip


class RestPhp:
    def __init__(self, access: Access, *tables: Mapping[str, Method], memory: int = MEMORY) -> None:
        self._access = access
        self._methods = {name: method for table in tables for name, method in table.items()}
        self._room = Room(memory)

    def routes(self) -> list[Route]:
        """Return the routes, without the HEAD that Starlette adds to GET: it would send a message."""
        routes = [Route(path, self.handle) for path in (PATH, f"{PATH}/")]
        for route in routes:
            route.methods = set(_METHODS)
        return routes

    async def handle(self, request: Request) -> Response:
        with self._room.held(address_of(request)) as held:
            call, body = await self._answer(request, held)
        if call is not None and call.answered is not None:
            when_heard(request, call.answered)
        return Response(body, media_type="application/json")

    async def _answer(self, request: Request, held: Held) -> tuple[Call | None, bytes]:
        try:
            fields, problem = await _read(request, held)
            params = Params(fields)
            call = Call(self._account(params, address_of(request), problem), params, address_of(request))
            if problem:
                raise problem
            return call, _written(await self._method(params)(call))
        except Refused as error:
            return None, _refusal(error)
        except AdminError as error:
            return None, _refusal(_in_words(error, params.text("method")))
        except (Unavailable, OSError) as error:
            log.warning("store_unavailable", why=str(error))
        except Exception as error:
            log.crash("rest_failed", error)
        return None, _refusal(Refused(LATER, "this cannot be done now; nothing was changed"))

    def _account(self, params: Params, address: str, problem: Refused | None) -> Account:
        """Return the calling account. Raises Refused, with `problem` if the unread body may hold the credentials."""
        try:
            return self._access.api(params.text("api_username"), params.text("api_password"), address, ORIGIN)
        except Denied as error:
            if problem is not None and error.code is DenialCode.MISSING:
                raise problem from None
            raise Refused(_DENIED[error.code]) from None

    def _method(self, params: Params) -> Method:
        name = params.text("method")
        method = self._methods.get(name)
        if method is None:
            raise Refused("invalid_method" if name else "missing_method")
        return method


async def _read(request: Request, held: Held) -> tuple[Fields, Refused | None]:
    """Return the fields that could be read and the problem with the rest."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await fields_of(request, held=held), None
    except BadRequest as error:
        word = {413: "exceeds_file_size", 503: LATER}.get(error.status, "missing_params")
        return query_of(request), Refused(word, error.reason)
    except TimeoutError:
        return query_of(request), Refused("missing_params", "the body did not arrive")


def _in_words(error: AdminError, method: str) -> Refused:
    """Return the status word for a change that cannot be made."""
    otherwise = _CHANGES.get(method, LATER)
    if isinstance(error, BadValue):
        return Refused(_SETTINGS.get(error.field, otherwise), error.why)
    return Refused("limit_reached" if isinstance(error, Full) else otherwise, str(error))


def _written(answer: Answer) -> bytes:
    if isinstance(answer, bytes):
        return answer
    return compact({"status": "success", **answer}) if answer else _SUCCESS


def _refusal(error: Refused) -> bytes:
    """Return the error answer. `message` is our addition for people; programs ignore it."""
    return compact({"status": error.word, "message": error.reason} if error.reason else {"status": error.word})
