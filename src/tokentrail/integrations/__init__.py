"""The doors in: one file per library."""
