"""The tables of the key database. The migrations in server/stores/key_migrations create them."""

from sqlalchemy import Column, LargeBinary, MetaData, PrimaryKeyConstraint, String, Table, UniqueConstraint

METADATA = MetaData()

# Customers' keys and the log's own keys, encrypted by the master key. `owner` is a customer tag in hexadecimal, or `log/tags` or
# `log/records` for the log's own keys.
WRAPPED_KEYS = Table(
    "wrapped_keys",
    METADATA,
    Column("key_id", String(32), nullable=False),
    Column("owner", String(64), nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    PrimaryKeyConstraint("key_id", name="pk_wrapped_keys"),
    UniqueConstraint("owner", name="uq_wrapped_keys_owner"),
)

# The row `master_key` states the id of the master key that encrypts new keys. A rotation changes it before it encrypts
# the existing keys again.
CURRENT_KEYS = Table(
    "current_keys",
    METADATA,
    Column("name", String(16), nullable=False),
    Column("key_id", String(32), nullable=False),
    PrimaryKeyConstraint("name", name="pk_current_keys"),
)
