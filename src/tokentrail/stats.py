"""Questions and answers: `Stats`, the table of its named questions, and the models its answers come in."""

from __future__ import annotations

from tokentrail._stats import Stats
from tokentrail._stats._catalog import FILTERS, STATS, Parameter, Statistic

__all__ = ["FILTERS", "STATS", "Parameter", "Statistic", "Stats"]
