"""A dialplan of a real Asterisk sends by HTTP: dialplan/asterisk/extensions_http.conf, and as Wildix' page has it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from e2e.site import HANDSET, Site

from tests.support.sip.asterisk import PROJECT, Asterisk, NotInstalledError, installed

pytestmark = pytest.mark.e2e

DID = "5550001111"
ENTRY = {"name": "pbx", "password": "s3cret-pbx", "dids": [{"number": DID}], "caller_id": DID}
# S-164, but for the address: a blank behind the comma, the text as it is.
AS_WILDIX = """
[as-wildix]
exten => _X.,1,Set(CURLOPT(userpwd)=pbx:s3cret-pbx)
 same => n,Set(message=${CURL(HERE/api/v1/originate/sms, message=hello%20there&number=%2B1${EXTEN})})
 same => n,UserEvent(SmsByHttp,To: ${EXTEN},Answer64: ${BASE64_ENCODE(${message})})
 same => n,Hangup()
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("http"), 1)
    site.import_accounts(ENTRY)
    with site:
        yield site


@pytest.fixture(scope="module")
def asterisk(site: Site) -> Iterator[Asterisk]:
    try:
        installed()
    except NotInstalledError as error:
        pytest.skip(str(error))
    own = (PROJECT / "dialplan" / "asterisk" / "extensions_http.conf").read_text()
    general = f"[globals]\nSMS_HTTP={site.url}\nSMS_LOGIN=pbx:s3cret-pbx\n"
    files = {"pjsip.conf": "", "extensions.conf": general + own + AS_WILDIX.replace("HERE", site.url)}
    with Asterisk(files, {}) as asterisk:
        yield asterisk


def originate(asterisk: Asterisk, number: str, context: str, text: str = "") -> Any:
    """Run the context; what sipsms answered."""
    assert asterisk.ami is not None
    asked = asterisk.ami.ask(
        "Originate", Channel=f"Local/{number}@{context}", Application="Hangup", Variable=f"__SMS_TEXT={text}",
        Async="true",
    )  # fmt: skip
    assert asked["Response"] == "Success", asked
    event = asterisk.event("SmsByHttp", 20, To=number)
    return json.loads(base64.b64decode(event["Answer64"]))


@pytest.mark.req("S-159", "S-164", "S-165")
def test_a_dialplan_sends_by_curl(site: Site, asterisk: Asterisk) -> None:
    answer = originate(asterisk, HANDSET, "sms-originate", "Grüße & it's 100% (50/50)")
    assert answer == {"type": "result", "result": "Success"}
    assert site.settled(DID, "Grüße & it s 100% (50 50)", "delivered")["to"] == HANDSET


@pytest.mark.req("S-162", "S-164")
def test_the_line_of_the_page(site: Site, asterisk: Asterisk) -> None:
    assert originate(asterisk, HANDSET, "as-wildix") == {"type": "result", "result": "Success"}
    site.settled(DID, "hello there", "delivered")


@pytest.mark.req("S-162")
def test_a_number_that_is_refused(site: Site, asterisk: Asterisk) -> None:
    answer = originate(asterisk, "911", "sms-originate", "help")
    assert answer == {"type": "warning", "reason": "Unable to add a SMS to the queue", "result": ["911"]}
    asterisk.logs(r"SMS to 911")
    assert all(row["text"] != "help" for row in site.rows(DID))
