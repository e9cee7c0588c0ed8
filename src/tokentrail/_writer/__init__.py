"""One thread: journal → store, in batches, with patience; and the import of what dead processes left."""

from tokentrail._writer._adoption import Imported, import_pending
from tokentrail._writer._writer import Writer

__all__ = ["Imported", "Writer", "import_pending"]
