"""tokentrail: the usage ledger for Python programs that call language models."""
