"""The table of the key database. The migrations in server/stores/key_migrations create it."""

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
