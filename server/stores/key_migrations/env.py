"""Runs the Alembic migrations on the connection that `Database.migrate` provides."""

from alembic import context

from server.stores.key_tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
