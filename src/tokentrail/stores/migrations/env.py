"""Alembic's entry: runs the revisions on the connection and in the transaction of the caller."""

from __future__ import annotations

from alembic import context

from tokentrail.stores.migrations import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    transactional_ddl=False,  # the caller holds the transaction, and with it the lock
)
context.run_migrations()
