"""The tables of this package. The ledger's migrations create them beside its own."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData()

# Times are ISO 8601 text in UTC: they enter the hashes exactly as they are stored, and so must
# read back the same from every database.

audit = Table(
    "audit",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", String(40), nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False, index=True),
    Column("target", Text, nullable=False),
    Column("detail", Text, nullable=False),  # canonical JSON, never re-encoded
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", String(20), nullable=False),
    Column("secret_sha256", String(64), nullable=False, unique=True),
    Column("daily_tokens", BigInteger),
    Column("created_at", String(40), nullable=False),
    Column("revoked_at", String(40)),
    Column("tenant", Text),  # NULL: the key is its own
)
Index(
    "api_keys_one_live_name",
    api_keys.c.name,
    unique=True,
    sqlite_where=text("revoked_at IS NULL"),
    postgresql_where=text("revoked_at IS NULL"),
)

subject_keys = Table(
    "subject_keys",
    metadata,
    # HMAC of the subject under the project key: the row outlives the person's erasure as proof of
    # it, and must not itself name them.
    Column("subject_hash", String(64), primary_key=True),
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("wrapped", LargeBinary),  # NULL: shredded
    Column("created_at", String(40), nullable=False),
    Column("shredded_at", String(40)),
)
Index(
    "subject_keys_shredded",
    subject_keys.c.shredded_at,
    sqlite_where=text("shredded_at IS NOT NULL"),
    postgresql_where=text("shredded_at IS NOT NULL"),
)
