"""A provider on this machine and a walk through it: `tokentrail demo`, and the wire under our own tests."""
