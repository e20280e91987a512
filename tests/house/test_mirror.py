"""Each module has the test file of its name, or a reason a line why not yet: the list only shrinks."""

from __future__ import annotations

from pathlib import Path
from typing import Final

TESTS = Path(__file__).parents[1]
PACKAGE = TESTS.parent / "sipsms"
MOST: Final = 104  # entries of the list below; this number only falls

# Module -> what tests it instead.
ELSEWHERE: Final = {
    "accounts/import_file": "by docs/test_docs, store/test_import_export",
    "accounts/provisioning_link": "by the tests of the modules that use it",
    "accounts/service": "by web/api/voipms/test_accounts",
    "app/certificates": "real servers: e2e, faults",
    "app/couriers": "real servers: e2e, faults",
    "app/directory_refresh": "real servers: e2e, faults",
    "app/http_apis": "real servers: e2e, faults",
    "app/node": "real servers: e2e, faults",
    "app/offline": "real servers: e2e, faults",
    "app/reload": "real servers: e2e, faults",
    "app/smpp": "real servers: e2e, faults",
    "carriers/outcomes": "by carriers/test_twilio, carriers/test_bandwidth",
    "carriers/payload": "by the tests of the modules that use it",
    "carriers/registry": "by carriers/test_files",
    "carriers/settings": "settings models: app/test_settings",
    "carriers/telnyx_events": "by the tests of the modules that use it",
    "carriers/voipms_records": "by carriers/test_voipms",
    "cli/accounts": "real commands: cli/test_cli, docs/test_docs, e2e/test_09_operator",
    "cli/blocks": "real commands: cli/test_cli, docs/test_docs, e2e/test_09_operator",
    "cli/demo/esme": "real commands: cli/test_cli, docs/test_docs, e2e/test_09_operator",
    "cli/demo/play": "real commands: cli/test_cli, docs/test_docs, e2e/test_09_operator",
    "cli/dids": "real commands: cli/test_cli, docs/test_docs, e2e/test_09_operator",
    "cli/lists": "real commands: cli/test_cli, docs/test_docs, e2e/test_09_operator",
    "cli/messages": "real commands: cli/test_cli, docs/test_docs, e2e/test_09_operator",
    "cli/provision": "real commands: cli/test_cli, docs/test_docs, e2e/test_09_operator",
    "cli/server": "real commands: cli/test_cli, docs/test_docs, e2e/test_09_operator",
    "cli/tokens": "real commands: cli/test_cli, docs/test_docs, e2e/test_09_operator",
    "core/account": "values and types only, used by every test of the rooms beside",
    "core/clock": "values and types only, used by every test of the rooms beside",
    "core/courier_id": "values and types only, used by every test of the rooms beside",
    "core/directory_rows": "values and types only, used by every test of the rooms beside",
    "core/errors": "values and types only, used by every test of the rooms beside",
    "core/http_client": "values and types only, used by every test of the rooms beside",
    "core/queue_rows": "values and types only, used by every test of the rooms beside",
    "core/refusal": "values and types only, used by every test of the rooms beside",
    "core/validators": "by app/test_settings",
    "mail/settings": "settings models: app/test_settings",
    "messaging/base_carrier": "values and types only, used by every test of the rooms beside",
    "messaging/build": "by the tests of the modules that use it",
    "messaging/carrier": "values and types only, used by every test of the rooms beside",
    "messaging/carrier_options": "values and types only, used by every test of the rooms beside",
    "messaging/delivery_reports": "by messaging/test_reporter, messaging/test_concatenation",
    "messaging/location": "values and types only, used by every test of the rooms beside",
    "messaging/media": "values and types only, used by every test of the rooms beside",
    "messaging/order": "by messaging/test_outbound, messaging/test_retry_guard",
    "messaging/settings": "settings models: app/test_settings",
    "routing/numbering": "by routing/test_dialplan",
    "routing/rules_file": "by routing/test_dialplan",
    "sip/endpoint": "by sip/test_trunk_transport, sip/test_presence_server",
    "sip/flow_token": "by sip/test_proxy, attacks/test_ids_and_clocks",
    "sip/message_server": "real sockets: conformance",
    "sip/proxy_server": "real sockets: conformance",
    "sip/server": "by sip/test_digest_client",
    "sip/stun": "real sockets: conformance",
    "sip/tls": "by sip/test_connection_pool",
    "sip/transport": "by sip/test_transport_udp, sip/test_trunk_transport",
    "sip/trunk_client": "real sockets: interop/test_trunk",
    "sip/trunk_registration": "real sockets: interop/test_trunk",
    "sip/trunk_settings": "settings models: app/test_settings",
    "sip/websocket": "real sockets: conformance",
    "smpp/bind": "by smpp/test_memory",
    "smpp/concat_refs": "by smpp/test_memory, docs/test_smpp",
    "smpp/esme": "by smpp/test_peer_session, smpp/test_submit",
    "smpp/resend_detection": "by smpp/test_memory, smpp/test_submit",
    "store/accounts": "by store/test_reassign, store/test_smpp_settings",
    "store/api_usage": "by cli/test_message, messaging/test_retry_guard",
    "store/bindings": "through the store: store/test_store, e2e",
    "store/blocks": "by docs/test_v1, web/api/v1/test_permissions",
    "store/carrier_state": "through the store: store/test_store, e2e",
    "store/concatenated_parts": "by messaging/test_concatenation",
    "store/destinations": "by web/api/voipms/test_dids",
    "store/dids": "by store/test_smpp_settings, store/test_import_export",
    "store/directory": "by store/test_smpp_settings, store/test_import_export",
    "store/engine": "by store/test_store, store/test_reassign",
    "store/messages": "by store/test_reassign, store/test_app_messages",
    "store/operator_lists": "by store/test_reassign",
    "store/provisioning_links": "by accounts/test_provisioning",
    "store/rows": "by store/test_message_list_voipms",
    "store/schema": "by store/test_reassign, store/test_migrations",
    "store/secrets": "through the store: store/test_store, e2e",
    "store/smpp_binds": "by store/test_smpp_settings",
    "store/tokens": "by docs/test_v1, web/api/v1/test_permissions",
    "store/voipms_fields": "through the store: store/test_store, e2e",
    "web/api/acrobits/format": "by web/api/test_formats",
    "web/api/acrobits/routes": "by web/api/test_multi_recipient",
    "web/api/kannel/format": "by web/api/test_formats",
    "web/api/kannel/routes": "by web/api/test_multi_recipient",
    "web/api/telnyx": "over real HTTP: docs, faults/test_doors, web/api",
    "web/api/v1/accounts": "over real HTTP: docs, faults/test_doors, web/api",
    "web/api/v1/app": "by web/api/v1/test_middleware",
    "web/api/v1/dependencies": "over real HTTP: docs, faults/test_doors, web/api",
    "web/api/v1/dids": "by web/api/v1/test_permissions, docs/test_v1",
    "web/api/v1/operator": "over real HTTP: docs, faults/test_doors, web/api",
    "web/api/v1/paging": "by docs/test_v1",
    "web/api/v1/problems": "by web/api/v1/test_events",
    "web/api/v1/schemas": "over real HTTP: docs, faults/test_doors, web/api",
    "web/api/v1/send": "over real HTTP: docs, faults/test_doors, web/api",
    "web/api/wildix/format": "by web/api/test_formats",
    "web/api/wildix/routes": "by web/api/test_multi_recipient",
    "web/carrier_hooks": "by web/test_server, web/test_provisioning",
    "web/settings": "settings models: app/test_settings",
    "web/json_response": "by the tests of the modules that use it",
    "web/outbound/acrobits_push": "by the tests of the modules that use it",
    "web/outbound/concurrency": "by web/outbound/test_webhook, web/outbound/test_callback",
}


def modules() -> set[str]:
    found = (path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py"))
    return {str(path) for path in found if "migrations" not in path.parts and path.name not in ("__init__", "__main__")}


def has_test(module: str) -> bool:
    path = Path(module)
    return (TESTS / path.parent / f"test_{path.name}.py").exists()


def test_each_module_has_the_test_file_of_its_name() -> None:
    assert {module for module in modules() if not has_test(module)} - ELSEWHERE.keys() == set()


def test_the_list_only_shrinks() -> None:
    assert len(ELSEWHERE) == MOST
    assert {module for module in ELSEWHERE if has_test(module) or module not in modules()} == set()
