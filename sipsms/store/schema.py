"""All tables. Alembic's migrations must produce exactly this schema (a test compares them).

Times are seconds since the epoch as REAL. The partial indexes keep the queue's queries as cheap with a million settled
messages as with none: a row leaves them when its delivery ends. Every other index costs time for each accepted message,
more so the further apart its rows are stored. So an index exists only where a present query needs it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    false,
    text,
    true,
)

metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s"}
)

# SQLite makes only INTEGER PRIMARY KEY the row's own number; PostgreSQL needs the larger type.
_Id = BigInteger().with_variant(Integer, "sqlite")


def _text(name: str, length: int = 255) -> Column[str]:
    return Column(name, String(length), nullable=False, server_default="")


# Next ids and version numbers. Taking ids locks the row.
counters = Table(
    "counters",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", _Id, nullable=False),
)

accounts = Table(
    "accounts",
    metadata,
    Column("name", String(64), primary_key=True),
    _text("parent", 64),  # the customer, for a subaccount
    _text("ha1_md5", 32),
    _text("ha1_sha256", 64),
    _text("realm"),  # the realm the hashes were made for
    _text("caller_id", 32),
    Column("enabled", Boolean, nullable=False, server_default=true()),
    Column("legacy_digest", Boolean, nullable=False, server_default=false()),
    Column("presence", Boolean, nullable=False, server_default=true()),
    Column("copies", Boolean, nullable=False, server_default=false()),  # sent messages are copied to its other devices
    Column("bulk", Boolean, nullable=False, server_default=false()),  # may send similar texts to many numbers
    Column("shorteners", Boolean, nullable=False, server_default=false()),  # may send links of public shorteners
    _text("api_hash", 64),  # SHA-256 of its API password, which has 192 random bits
    Column("api_daily_limit", Integer),  # sends a day by the APIs; empty: as configured
    _text("api_allow_ip", 1024),  # networks that may use its API password and tokens, by spaces; empty: all
    _text("email"),  # another name of the account at rest.php
    _text("reseller", 64),  # the customer that manages this one
    Column("app_messages", Boolean, nullable=False, server_default=false()),  # for an app to fetch, not sent by SIP
    Column("smpp_rate", Integer),  # messages a second by SMPP; empty: as configured
    Column("reply_from_thread", Boolean, nullable=False, server_default=false()),  # see `threads`
    # Fields of setSubAccount as JSON: stored and returned, without effect.
    Column("api_fields", Text, nullable=False, server_default="{}"),
    Column("created_at", Double, nullable=False),
    Column("version", _Id, nullable=False, index=True),  # value of counters.directory at the last change
    Index("ix_accounts_parent", "parent"),
)

dids = Table(
    "dids",
    metadata,
    Column("number", String(32), primary_key=True),
    Column("account", String(64), nullable=False, index=True),
    _text("sip_account", 64),
    Column("sms", Boolean, nullable=False, server_default=true()),
    Column("sms_paused", Boolean, nullable=False, server_default=false()),  # off by the customer, who may end it
    Column("mms", Boolean, nullable=False, server_default=true()),
    _text("dialing_mode", 8),  # "" as configured, nanpa, e164
    Column("created_at", Double, nullable=False),
    Column("version", _Id, nullable=False, index=True),
)

_SMPP = text("kind = 'smpp'")  # a customer's usernames must not be used by another customer

# Further destinations of a DID (email, forward, callback, webhook, group, smpp): one row each, options as JSON.
did_targets = Table(
    "did_targets",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("did", String(32), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("target", Text, nullable=False),
    Column("options", Text, nullable=False, server_default="{}"),
    Index("ix_did_targets_smpp", "did", sqlite_where=_SMPP, postgresql_where=_SMPP),
)

CONTACT = "CASE WHEN direction = 'in' THEN source ELSE destination END"  # the other side's number

messages = Table(
    "messages",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=False),
    Column("direction", String(3), nullable=False),
    Column("source", String(64), nullable=False),
    Column("destination", String(64), nullable=False),
    Column("text", Text, nullable=False),
    _text("origin", 64),
    _text("account", 64),
    _text("did", 32),
    Column("received_at", Double, nullable=False),
    Column("expires_at", Double),
    # Duplicate key (SIP retransmission, carrier's message id). One key, one message: decision 3 of the architecture.
    Column("dedupe_key", LargeBinary(32), unique=True),
    _text("remote_id", 128),
    _text("content_type", 127),  # of `text`; empty: text/plain
    Column("device", _Id, nullable=False, server_default="0"),
    Column("media", Text, nullable=False, server_default=""),  # parts of an MMS: JSON, see `rows.media_text`
    _text("notify"),  # request for a delivery report (SIP: imdn.Message-ID, RFC 5438), until it is sent
    Column("hidden", Boolean, nullable=False, server_default=false()),  # deleted by its owner at rest.php
    Index("ix_messages_notify", "id", sqlite_where=text("notify <> ''"), postgresql_where=text("notify <> ''")),
)

# Ids of messages by DID (kind 0) and by contact (kind 1). The writer fills it behind: see `history`.
history = Table(
    "history",
    metadata,
    Column("kind", Integer, primary_key=True, autoincrement=False),
    Column("number", String(64), primary_key=True),
    Column("id", _Id, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

_OPEN = text("state IN ('queued', 'sending')")
_QUEUED = text("state = 'queued'")
_SENDING = text("state = 'sending'")
_UNKNOWN = text("state = 'unknown'")
_NAMED = text("remote_id <> ''")  # has the carrier's id
_FOLDED = "ltrim(lower(remote_id), '0')"  # the id in the form of `core.queue_rows.fold_id`
_UNFOLDED = text(f"remote_id <> {_FOLDED}")
_DEAD = text("courier IN ('callback', 'webhook', 'mail') AND state IN ('failed', 'expired')")  # dead letters
_APP = text("courier = 'app'")  # messages that apps fetch
_HAS_RECIPIENT = text("recipient <> ''")
_NOBODYS = text("state = 'queued' AND lease_owner = ''")  # written by a command, not yet claimed by the server

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=False),
    Column("message_id", _Id, nullable=False, index=True),
    Column("courier", String(64), nullable=False),
    # An e-mail address may be long. SQLite ignores lengths; changing one would rewrite its table.
    Column("destination", String(255).with_variant(String(64), "sqlite"), nullable=False),
    Column("source", String(64), nullable=False),
    Column("device", _Id, nullable=False, server_default="0"),
    Column("lane", String(255).with_variant(String(160), "sqlite"), nullable=False),
    Column("state", String(10), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("due_at", Double),  # empty: waits for an event
    Column("expires_at", Double, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    _text("lease_owner", 64),
    Column("lease_until", Double, nullable=False, server_default="0"),
    _text("remote_id", 128),
    _text("last_error"),
    # Couriers to try after this one, in order, separated by commas.
    Column("others", Text().with_variant(String(512), "sqlite"), nullable=False, server_default=""),
    # No device of the account was known on arrival: every device that registers later gets a copy.
    Column("open", Boolean, nullable=False, server_default=false()),
    Column("text_start", Integer, nullable=False, server_default="0"),
    Column("text_end", Integer, nullable=False, server_default="0"),  # 0: the whole text, else the end of its segment
    Index("ix_deliveries_remote_id", "remote_id", sqlite_where=_NAMED, postgresql_where=_NAMED),
    Index("ix_deliveries_folded_id", text(_FOLDED), sqlite_where=_UNFOLDED, postgresql_where=_UNFOLDED),
    Index("ix_deliveries_unknown", "id", sqlite_where=_UNKNOWN, postgresql_where=_UNKNOWN),
    Index("ix_deliveries_app", "destination", "id", sqlite_where=_APP, postgresql_where=_APP),
    Index("ix_deliveries_dead", "id", sqlite_where=_DEAD, postgresql_where=_DEAD),
    Index("ix_deliveries_lane_id", "lane", "id", sqlite_where=_OPEN, postgresql_where=_OPEN),
    Index("ix_deliveries_courier_due_at", "courier", "due_at", sqlite_where=_QUEUED, postgresql_where=_QUEUED),
    Index("ix_deliveries_expires_at", "expires_at", sqlite_where=_QUEUED, postgresql_where=_QUEUED),
    Index("ix_deliveries_destination", "destination", sqlite_where=text("open = 1"), postgresql_where=text("open")),
    Index("ix_deliveries_sending", "lease_owner", sqlite_where=_SENDING, postgresql_where=_SENDING),
    Index("ix_deliveries_unclaimed", "id", sqlite_where=_NOBODYS, postgresql_where=_NOBODYS),
)

# The journal: a row is committed before bytes are sent. A row without an outcome may or may not have been delivered.
attempts = Table(
    "attempts",
    metadata,
    Column("delivery_id", _Id, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double),
    _text("outcome", 10),
    _text("detail"),
    sqlite_with_rowid=False,
)

devices = Table(
    "devices",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=False),
    Column("aor", String(64), nullable=False, index=True),
    Column("key", String(1024), nullable=False),
    _text("user_agent"),
    Column("first_seen", Double, nullable=False),
    Column("last_seen", Double, nullable=False, index=True),
    Column("stable", Boolean, nullable=False),
)

bindings = Table(
    "bindings",
    metadata,
    Column("aor", String(64), primary_key=True),
    Column("contact", String(1024), primary_key=True),
    Column("expires_at", Double, nullable=False),
    Column("call_id", String(512), nullable=False),
    Column("cseq", _Id, nullable=False),
    Column("received", String(128), nullable=False),
    Column("path", Text, nullable=False),  # JSON list
    Column("params", Text, nullable=False),  # JSON list of pairs
    Column("q", Double, nullable=False),
    # Two phones at two sites may have one private address, and one phone may have several flows (RFC 5626).
    Column("instance", String(255), primary_key=True, server_default=""),
    Column("reg_id", Integer, primary_key=True, autoincrement=False, server_default="0"),
    _text("user_agent"),
    _text("accept", 1024),
    Column("flow", _Id, nullable=False, server_default="0"),
    _text("node", 64),
    _text("local", 128),
    _text("to_uri", 1024),
    Column("device", _Id, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)

carriers = Table(
    "carriers",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("paused", Boolean, nullable=False, server_default=false()),
    Column("polled_at", Double, nullable=False, server_default="0"),  # time up to which incoming messages were polled
    Column("status", Text, nullable=False, server_default=""),  # JSON: status as the server last stored it
)

# STOP and block lists. `owner`: a DID, a customer (all its DIDs) or * (everybody). Rows are switched off, not deleted:
# the server sees changes by their version.
blocks = Table(
    "blocks",
    metadata,
    Column("owner", String(64), primary_key=True),
    Column("number", String(64), primary_key=True),
    Column("direction", String(3), primary_key=True),  # in: block messages from this number; out: block messages to it
    _text("reason"),
    Column("active", Boolean, nullable=False, server_default=true()),
    Column("created_at", Double, nullable=False),
    Column("version", _Id, nullable=False, index=True),
)

# The DID that each peer of an account last wrote to: rows only for accounts with `reply_from_thread`.
threads = Table(
    "threads",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("peer", String(64), primary_key=True),
    Column("did", String(32), nullable=False),
    sqlite_with_rowid=False,
)

# Random keys of this installation, the same after a restart.
secrets = Table(
    "secrets",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", LargeBinary(64), nullable=False),
)

# Groups of accounts that a DID may deliver to (S-128: static members).
groups = Table(
    "groups",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("account", String(64), nullable=False),
)

group_members = Table(
    "group_members",
    metadata,
    Column("group_name", String(64), primary_key=True),
    Column("member", String(64), primary_key=True),
)

# Segments of long texts, incoming or sent by an account, until all have arrived or the text is given up.
parts = Table(
    "parts",
    metadata,
    Column("carrier", String(64), primary_key=True),  # the origin, for segments that an account sends
    Column("source", String(64), primary_key=True),
    Column("destination", String(64), primary_key=True),
    Column("reference", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("total", Integer, nullable=False),
    Column("text", Text, nullable=False),
    _text("remote_id", 128),  # `notify` for segments that an account sends
    Column("received_at", Double, nullable=False, index=True),
    Column("joined", Boolean, nullable=False, server_default=false()),  # delivered; kept to detect repetitions
    _text("account", 64),  # the sending account; empty: incoming
    Column("expires_at", Double),
    Index(
        "ix_parts_open", "carrier", "source", "destination", "reference", "received_at",
        sqlite_where=text("joined = 0"), postgresql_where=text("NOT joined"),
    ),
)  # fmt: skip

# Carriers' receipts that match no delivery yet, kept for a while: they may have arrived before the response.
receipts = Table(
    "receipts",
    metadata,
    Column("remote_id", String(128), primary_key=True),
    Column("courier", String(64), primary_key=True),
    Column("state", String(10), primary_key=True),
    _text("detail"),
    Column("received_at", Double, nullable=False, index=True),
    Column("opt_out", Boolean, nullable=False, server_default=false()),
    # Limits the match to messages to `recipient` and from `sender`; empty: any.
    Column("recipient", String(64), primary_key=True, server_default=""),
    Column("sender", String(64), primary_key=True, server_default=""),
    Column("other", Boolean, nullable=False, server_default=false()),  # another form of the carrier's id
    Index(
        "ix_receipts_recipient", "recipient", "courier", sqlite_where=_HAS_RECIPIENT, postgresql_where=_HAS_RECIPIENT
    ),
)

# SMPP sessions of each node, as last stored by the node.
smpp_binds = Table(
    "smpp_binds",
    metadata,
    Column("node", String(64), primary_key=True),
    Column("number", _Id, primary_key=True, autoincrement=False),
    Column("direction", String(3), nullable=False),  # in: bound to us, out: we are bound there
    _text("name", 64),  # the system_id, carrier:NAME, or the DID whose customer's server it is
    _text("account", 64),
    _text("peer"),
    _text("mode", 16),
    Column("tls", Boolean, nullable=False, server_default=false()),
    _text("state", 16),
    Column("since", Double, nullable=False),
    Column("sent", _Id, nullable=False, server_default="0"),
    Column("received", _Id, nullable=False, server_default="0"),
    _text("why"),
)

# Time up to which each SMPP peer has received our responses; later messages may be sent again.
smpp_heard = Table(
    "smpp_heard",
    metadata,
    Column("name", String(80), primary_key=True),
    Column("at", Double, nullable=False),
)

# Settings of a phone, fetched once or a few times by a link that cannot be guessed.
provisions = Table(
    "provisions",
    metadata,
    Column("hash", String(64), primary_key=True),  # SHA-256 of the link's token
    Column("account", String(64), nullable=False, index=True),
    Column("sealed", LargeBinary, nullable=False),  # the password, encrypted with a key derived from the token
    Column("expires_at", Double, nullable=False),
    Column("fetches_left", Integer, nullable=False),
)

# API tokens. Rows are deleted; the server sees new rows by their version.
tokens = Table(
    "tokens",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),  # SHA-256 of the token, which has 192 random bits
    Column("account", String(64), nullable=False, index=True),  # empty: the operator's
    Column("name", String(64), nullable=False),
    Column("scope", String(64), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("version", _Id, nullable=False, server_default="0", index=True),
)

# Messages sent by each customer through the APIs on a day (UTC, YYYY-MM-DD).
api_usage = Table(
    "api_usage",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("sends", _Id, nullable=False),
)

# Push tokens of apps that fetch their messages.
push_tokens = Table(
    "push_tokens",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("selector", String(255), primary_key=True),
    Column("app", String(255), nullable=False),
    Column("token", String(1024), nullable=False),
    Column("updated_at", Double, nullable=False),
)

_HAS_EMAIL = text("email <> ''")
_HAS_LINK = text("link <> ''")

# People who sign in to the message centre. Names and e-mail addresses are stored in lower case.
users = Table(
    "users",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    _text("customer", 64),  # empty: an operator
    Column("role", String(16), nullable=False),
    _text("email"),
    _text("hash"),  # argon2id; empty: no password yet
    _text("totp", 64),
    Column("totp_step", _Id, nullable=False, server_default="0"),  # a code is accepted once
    _text("totp_new", 64),  # key that no code has confirmed yet
    _text("recovery", 1024),  # SHA-256 of each unused recovery code, by spaces
    _text("tz", 64),
    _text("lang", 8),
    _text("theme", 8),
    _text("link", 64),  # SHA-256 of the open link to set a password
    Column("link_ends", Double, nullable=False, server_default="0"),
    Column("created_at", Double, nullable=False),
    Column("version", _Id, nullable=False, server_default="1"),  # changes name the version that they were made from
    Index("ix_users_customer", "customer"),
    Index("ix_users_email", "email", unique=True, sqlite_where=_HAS_EMAIL, postgresql_where=_HAS_EMAIL),
    Index("ix_users_link", "link", sqlite_where=_HAS_LINK, postgresql_where=_HAS_LINK),
)

# DIDs given to users of the role `user`.
user_dids = Table(
    "user_dids",
    metadata,
    Column("user_id", _Id, primary_key=True, autoincrement=False),
    Column("did", String(32), primary_key=True, index=True),
)

# Signed-in browsers.
sessions = Table(
    "sessions",
    metadata,
    Column("hash", String(64), primary_key=True),  # SHA-256 of the token, which has 192 random bits
    Column("user_id", _Id, nullable=False, index=True),
    Column("made_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    Column("ends_at", Double, nullable=False, index=True),
    Column("stay", Boolean, nullable=False, server_default=false()),
    _text("stage", 8),  # the step of the sign-in that is missing
    _text("agent"),
    _text("address", 64),
    _text("viewed", 64),  # customer whose pages are shown
    Column("view_ends", Double, nullable=False, server_default="0"),
)

# Who did what in the message centre. Rows are only added.
audit = Table(
    "audit",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("at", Double, nullable=False),
    Column("who", String(64), nullable=False),  # name of the user; `command line`
    Column("action", String(40), nullable=False),
    _text("subject"),  # name of the user, customer or number
    _text("detail", 1024),
    _text("address", 64),
)
