"""Stores without a past, for tests that share one."""

from __future__ import annotations

from tokentrail.models._columns import TIMES_US
from tokentrail.stores.base import Store
from tokentrail.stores.memory import MemoryStore
from tokentrail.stores.sql import SqlStore


def unpruned(store: Store) -> None:
    """Make a store without rows forget what was pruned, which its sums would keep for ever."""
    if isinstance(store, MemoryStore):
        store._pruned, store._pruned_before = {}, TIMES_US[0]
    elif isinstance(store, SqlStore):
        with store._writing() as connection:
            for table in ("usage", "usage_label", "usage_sketch", "session"):
                connection.exec_driver_sql(f"DELETE FROM {table}")
            connection.exec_driver_sql("UPDATE ledger SET pruned_before = NULL")
