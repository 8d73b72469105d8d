"""The tables of the key store, a database of its own. server/stores/key_migrations creates them."""

from sqlalchemy import Column, LargeBinary, MetaData, PrimaryKeyConstraint, String, Table, UniqueConstraint

METADATA = MetaData()

# Keys, wrapped by the master key. `owner` is a customer's tag in hexadecimal, or the name of a key of the log itself.
WRAPPED_KEYS = Table(
    "wrapped_keys",
    METADATA,
    Column("key_id", String(32), nullable=False),
    Column("owner", String(64), nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    PrimaryKeyConstraint("key_id", name="pk_wrapped_keys"),
    UniqueConstraint("owner", name="uq_wrapped_keys_owner"),
)
