"""Settings of a phone, in the formats that phones read. Pure.

`linphone_xml` is Linphone's remote provisioning (lpconfig.xsd: sections and entries of linphonerc). `acrobits_xml` is
the Account XML of Acrobits' applications (doc.acrobits.net, "Account XML"). Both must be built as trees and never as
text, so that values are always escaped.
"""

from __future__ import annotations

from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

TRANSPORTS = ("udp", "tcp", "tls")
APPS = ("linphone", "acrobits")
_USUAL_PORT = {"udp": 5060, "tcp": 5060, "tls": 5061}
_LPCONFIG = "http://www.linphone.org/xsds/lpconfig.xsd"
_ACROBITS_TRANSPORT = {"udp": "udp", "tcp": "tcp", "tls": "tls+sip:"}


class Settings(NamedTuple):
    name: str
    password: str
    domain: str
    realm: str
    transport: str
    server: str  # HOST[:PORT] to connect to
    expires: int  # seconds of a registration
    services: str = ""  # URL of Acrobits' web services, for an account whose app fetches its messages

    @property
    def credentials(self) -> tuple[str, str, str]:
        return self.name, self.realm, self.password

    @property
    def fields(self) -> dict[str, str]:
        """Settings to type by hand, under the names that most phones use."""
        rows = {"username": self.name, "authentication username": self.name, "domain": self.domain}
        if self.server != self.domain:
            rows["outgoing proxy"] = self.server
        return {**rows, "transport": self.transport.upper(), "register every": f"{self.expires} s"}


def server_of(host: str, port: int, transport: str) -> str:
    """Return HOST[:PORT]; without the default port, so that phones may ask the DNS (RFC 3263)."""
    bracketed = f"[{host}]" if ":" in host and host[0] != "[" else host
    return bracketed if port == _USUAL_PORT[transport] else f"{bracketed}:{port}"


def link(base: str, token: str, app: str) -> str:
    return f"{base.rstrip('/')}/provision/{token}/{app}.xml"


def cloud_code(name: str, domain: str, token: str, cloud_id: str) -> str:
    """Return the QR code by which Acrobits' Cloud Softphone asks the provisioning URL of its cloud id."""
    return f"csc:{name}@{domain}:{token}@{cloud_id}"


def linphone_xml(settings: Settings) -> bytes:
    server = f"<sip:{settings.server};transport={settings.transport}>"
    root = Element("config", {"xmlns": _LPCONFIG})
    _section(root, "sip", {
        "default_proxy": "0",
        "im_notif_policy": "none",  # no typing and delivery notifications: the telephone network has none
        "publish_presence": "0",
        "verify_server_certs": "1",
        "verify_server_cn": "1",
    })  # fmt: skip
    _section(root, "proxy_0", {
        "reg_proxy": server,
        "reg_route": server,
        "reg_identity": f"sip:{settings.name}@{settings.domain}",
        "realm": settings.realm,
        "reg_expires": str(settings.expires),
        "reg_sendregister": "1",
        "publish": "0",
        "dial_escape_plus": "0",
        "quality_reporting_enabled": "0",
    })  # fmt: skip
    _section(root, "auth_info_0", {
        "username": settings.name,
        "userid": settings.name,
        "passwd": settings.password,
        "realm": settings.realm,
        "domain": settings.domain,
    })  # fmt: skip
    return _text(root)


def _section(root: Element, name: str, entries: dict[str, str]) -> None:
    section = SubElement(root, "section", {"name": name})
    for key, value in entries.items():
        SubElement(section, "entry", {"name": key, "overwrite": "true"}).text = value


def acrobits_xml(settings: Settings) -> bytes:
    root = Element("account")
    values = {
        "title": settings.domain,
        "username": settings.name,
        "password": settings.password,
        "host": settings.domain,
        "transport": _ACROBITS_TRANSPORT[settings.transport],
        "expires": str(settings.expires),
        "allowMessage": "1",  # SIP SIMPLE, which the app uses for all messages without the generic SMS URLs
    }
    if settings.server != settings.domain:
        values["proxy"] = settings.server
    if settings.services:
        values |= _services(settings.services)
    for key, value in values.items():
        SubElement(root, key).text = value
    return _text(root)


def _services(base: str) -> dict[str, str]:
    """Return the URLs of the web services, called by POST so that no password stands in a URL.

    doc.acrobits.net, "Send Message", "Fetch Messages"."""
    who = "username=%account[username]%&password=%account[password]%"
    bodies = {
        "genericSms": ("send", f"{who}&sms_to=%sms_to%&sms_body=%sms_body%&content_type=%content_type%"),
        "genericSmsFetch": (
            "fetch", f"{who}&last_id=%last_known_sms_id%&last_sent_id=%last_known_sent_sms_id%",
        ),
        "pushTokenReporter": (
            "push", f"{who}&selector=%selector%&token_msgs=%pushTokenOther%&appid_msgs=%pushappid_other%",
        ),
    }  # fmt: skip
    values = {"allowMessage": "0"}  # messages must not go by SIP as well
    for prefix, (name, body) in bodies.items():
        values["genericSmsSendUrl" if name == "send" else f"{prefix}Url"] = f"{base}/{name}"
        values[f"{prefix}PostData"] = body
        values[f"{prefix}ContentType"] = "application/x-www-form-urlencoded"
    return values


def document(app: str, settings: Settings) -> bytes:
    return {"linphone": linphone_xml, "acrobits": acrobits_xml}[app](settings)


def _text(root: Element) -> bytes:
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"
