"""Starts and ends, on disk before anyone waits for a database."""

from tokentrail._journal._census import Census, census
from tokentrail._journal._folder import journal_folder, read_running
from tokentrail._journal._follow import Follower
from tokentrail._journal._journal import Journal

__all__ = ["Census", "Follower", "Journal", "census", "journal_folder", "read_running"]
