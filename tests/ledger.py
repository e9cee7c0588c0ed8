"""A store in memory that calls are put into by hand, and questions about it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tokentrail import Stats
from tokentrail._records import Record, to_us
from tokentrail.stores.memory import MemoryStore

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
NOW = NEW_YEAR + timedelta(days=40)


class Ledger:
    """A store in memory that calls are put into by hand."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.stats = Stats(self.store, now=lambda: to_us(NOW))
        self._count = 0

    def add(self, at: datetime = NEW_YEAR, status: str = "success", **columns: Any) -> str:
        self._count += 1
        call_id = f"call-{self._count:04}"
        record: Record = {
            "id": call_id,
            "finality": 2,
            "started_at": to_us(at),
            "status": status,
            **columns,
        }
        appended = self.store.append([record])
        assert not appended.refused
        return call_id
