"""The journal: frames, segments, folders, and what survives when bytes do not."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crash.rig import ended, started
from tokentrail._health import Health
from tokentrail._journal import Journal, _frames, _journal, _segment, journal_folder, read_running
from tokentrail._journal._folder import Calls, interrupted, owners, take
from tokentrail._journal._frames import Scanner, encode, encode_with_json, frame
from tokentrail._records import FINAL, PROVISIONAL, Record

HEADER = {"process_id": "1", "host": "here"}


def make(folder: Path, **options: Any) -> Journal:
    return Journal(folder, health=Health(), header=HEADER, **options)


def scan(path: Path, data: bytes, *, dead: bool = True, start: int = 0) -> tuple[list[Record], Scanner]:
    path.write_bytes(data)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        scanner = Scanner(descriptor, start, dead=dead)
        return [record for record, _ in scanner], scanner
    finally:
        os.close(descriptor)


def small_segment(count: int = 4) -> tuple[bytes, list[Record]]:
    records = [{"id": f"call-{number}", "finality": FINAL, "model": "m é 😀"} for number in range(count)]
    return b"".join(frame(encode(record)) for record in records), records


def kill(journal: Journal) -> None:
    """Let go of the lock, as the death of the process does."""
    for segment in (journal.current, *journal.retired):
        if segment is not None:
            segment.close()


# --- frames --------------------------------------------------------------------------------------

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=8,
)
records = st.dictionaries(text, json_values, max_size=6).map(lambda fields: {**fields, "id": "x"})


@given(st.lists(records, max_size=6))
@settings(max_examples=60, deadline=None)
def test_any_record_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, given: list[Record]
) -> None:
    """Whatever JSON can say goes through a frame unchanged, with either encoder."""
    path = tmp_path_factory.mktemp("frames") / "segment"
    for encoder in (encode, encode_with_json):
        found, scanner = scan(path, b"".join(frame(encoder(record)) for record in given))
        assert found == given
        assert (scanner.damaged, scanner.torn) == (0, False)


@pytest.mark.parametrize(
    "value",
    [
        "\ud800 alone",
        2**70,
        -(2**64),
        {1: "a"},
        {("t",): 1, "b": 2},
        float("nan"),
        object(),
        {1, 2},
        b"bytes",
    ],
    ids=lambda value: type(value).__name__ if type(value) is object else repr(value),
)
def test_a_hostile_value_costs_at_most_itself(tmp_path: Path, value: object) -> None:
    """A value that orjson, UTF-8 or JSON refuses does not cost the record it is in."""
    found, scanner = scan(tmp_path / "segment", frame(encode({"id": "a", "model": "m", "params": value})))
    assert [(record["id"], record["model"]) for record in found] == [("a", "m")]
    assert scanner.damaged == 0


def test_an_endless_record_is_not_written_and_does_not_raise(tmp_path: Path) -> None:
    """A circular or bottomless value is a fault of ours, never an exception in the caller."""
    journal = make(tmp_path / "j")
    circle: dict[str, Any] = {"id": "a"}
    circle["attributes"] = circle
    deep: Any = {}
    for _ in range(100_000):
        deep = {"d": deep}
    for record in (circle, {"id": "b", "attributes": deep}):
        segment, _ = journal.write(record)
        assert segment is None
    assert journal._health.snapshot()["faults"]


def test_a_cut_at_any_byte_costs_one_record_only(tmp_path: Path) -> None:
    """A segment that ends at any offset gives back every record that is whole, and invents none."""
    data, written = small_segment()
    ends = [len(frame(encode(record))) for record in written]
    boundaries = [sum(ends[:count]) for count in range(len(ends) + 1)]
    for cut in range(len(data) + 1):
        found, scanner = scan(tmp_path / "segment", data[:cut])
        # The last byte is the LF; without it the record is whole all the same.
        whole = sum(1 for boundary in boundaries[1:] if boundary - 1 <= cut)
        assert found == written[:whole]
        clean = cut in boundaries or cut + 1 in boundaries[1:]
        assert clean or scanner.torn
        live, reading = scan(tmp_path / "segment", data[:cut], dead=False)
        assert live == written[: sum(1 for boundary in boundaries[1:] if boundary <= cut)]
        assert reading.end in boundaries
        assert reading.damaged == 0


def test_a_record_after_a_torn_one_is_found_at_any_cut(tmp_path: Path) -> None:
    """A short write of any length, then a whole record: the whole one is there, the damage is counted."""
    data, written = small_segment(1)
    later = {"id": "later", "finality": FINAL}
    for cut in range(1, len(data)):
        found, scanner = scan(tmp_path / "segment", data[:cut] + frame(encode(later)))
        assert found == ([*written, later] if cut == len(data) - 1 else [later])
        assert scanner.damaged == (0 if cut == 1 else 1)


def test_framing_by_lines_alone_would_lose_it(tmp_path: Path) -> None:
    """The mutant without the leading RS loses the whole record behind a torn one."""
    torn, whole = frame(encode({"id": "torn"}))[1:-4], frame(encode({"id": "whole"}))[1:]
    lines = [line for line in (torn + whole).split(b"\n") if line]
    readable = [line for line in lines if line[:8] == b"%08x" % crc32(line[9:])]
    assert readable == []
    found, _ = scan(tmp_path / "segment", b"\x1e" + torn + b"\x1e" + whole)
    assert [record["id"] for record in found] == ["whole"]


def test_a_flipped_bit_costs_its_own_record_only(tmp_path: Path) -> None:
    """Any bit of any byte may flip: the neighbours survive, and the damage is counted."""
    data, written = small_segment(3)
    length = len(frame(encode(written[0])))
    for offset in range(len(data)):
        for bit in range(8):
            broken = bytearray(data)
            broken[offset] ^= 1 << bit
            found, scanner = scan(tmp_path / "segment", bytes(broken))
            hit = offset // length
            assert [record for record in written if record not in found] in ([], [written[hit]])
            assert all(record in written for record in found)
            assert scanner.damaged > 0 or scanner.torn or found == written


@pytest.mark.parametrize(
    "garbage", [b"\0" * 4096, b"garbage\n", b"\x1e\x1e\x1e", bytes(range(256)), b"deadbeef {}\n"]
)
def test_garbage_between_and_behind_records_is_counted(tmp_path: Path, garbage: bytes) -> None:
    """Zeros of a power cut, or anything else: the records around it survive."""
    data, written = small_segment(2)
    more, others = small_segment(3)
    found, scanner = scan(tmp_path / "segment", data + garbage + more + garbage)
    assert found == written + others
    assert scanner.damaged or garbage == b"\x1e\x1e\x1e"


def test_a_record_longer_than_the_window_is_read(tmp_path: Path) -> None:
    """The window grows: a record of 5 MiB, with neighbours."""
    written = [{"id": "a"}, {"id": "b", "request": "x" * (5 << 20)}, {"id": "c"}]
    found, scanner = scan(tmp_path / "segment", b"".join(frame(encode(record)) for record in written))
    assert found == written
    assert scanner.end == (tmp_path / "segment").stat().st_size


def test_offsets_lead_to_the_next_record(tmp_path: Path) -> None:
    """Reading on from the offset behind a record gives exactly the records after it."""
    data, written = small_segment(5)
    path = tmp_path / "segment"
    path.write_bytes(data)
    descriptor = os.open(path, os.O_RDONLY)
    offsets = [offset for _, offset in Scanner(descriptor, dead=False)]
    os.close(descriptor)
    for count, offset in enumerate(offsets, 1):
        assert scan(path, data, start=offset)[0] == written[count:]


def test_the_encoder_without_orjson_is_compact_utf8() -> None:
    """Both encoders write compact UTF-8, so that neither needs more room than the other."""
    record = {"id": "a", "model": "é😀", "tags": ["x", "y"], "n": None}
    assert (
        encode(record)
        == encode_with_json(record)
        == json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
    )


# --- segments ------------------------------------------------------------------------------------


def test_nothing_exists_before_the_first_record(tmp_path: Path) -> None:
    """A journal that was made and not used leaves no trace on the disk."""
    make(tmp_path / "data" / "j")
    assert list(tmp_path.iterdir()) == []


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    """Folders are 0700 and segments 0600, whatever the umask."""
    before = os.umask(0)
    try:
        journal = make(tmp_path / "data" / "journals" / "j")
        journal.write({"id": "a"})
    finally:
        os.umask(before)
    for folder in (tmp_path / "data", tmp_path / "data" / "journals", journal.folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in journal.folder.iterdir()] == [0o600]


def test_a_folder_open_to_others_is_closed_to_them(tmp_path: Path) -> None:
    """A journal folder that anybody could read before is made private."""
    (tmp_path / "j").mkdir(mode=0o755)
    make(tmp_path / "j").write({"id": "a"})
    assert stat.S_IMODE((tmp_path / "j").stat().st_mode) == 0o700


def test_a_planted_link_is_refused(tmp_path: Path) -> None:
    """A symbolic link in the journal's place is not followed; the records stay in memory."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "j").symlink_to(tmp_path / "elsewhere")
    journal = make(tmp_path / "j")
    assert journal.write({"id": "a"})[0] is None
    assert journal.durability == "memory"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_path_below_a_file_leaves_the_journal_in_memory(tmp_path: Path) -> None:
    """A folder that cannot be made is said once, loudly, and costs the caller nothing."""
    (tmp_path / "file").write_text("")
    journal = make(tmp_path / "file" / "j")
    for _ in range(3):
        assert journal.write({"id": "a"})[0] is None
    assert journal.durability == "memory"
    assert len(journal._health.snapshot()["warnings"]) == 1  # type: ignore[arg-type]


def test_the_lock_is_held_from_the_first_moment_a_segment_can_be_seen(tmp_path: Path) -> None:
    """While segments come into being, an importer that tries every one of them gets none."""
    folder = tmp_path / "j"
    stolen: list[Calls] = []
    done = threading.Event()

    def steal() -> None:
        while not done.is_set():
            stolen.extend(calls for paths in owners(folder).values() if (calls := take(paths)) is not None)

    thief = threading.Thread(target=steal)
    thief.start()
    journals = [make(folder) for _ in range(200)]
    for journal in journals:
        journal.write({"id": "a"})
    done.set()
    thief.join()
    assert stolen == []
    assert len(owners(folder)) == 200


def test_a_write_into_a_segment_that_was_retired_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread held up between choosing its segment and writing leaves its record in a living one."""
    journal = make(tmp_path / "j")
    journal.write({"id": "first"})
    real = os.write
    rotated: list[int] = []

    def rotate_first(descriptor: int, data: bytes) -> int:
        if not rotated:
            rotated.append(descriptor)
            journal.rotate()
        return real(descriptor, data)

    monkeypatch.setattr(_journal, "_write", rotate_first)
    segment, _ = journal.write({"id": "second"})
    assert segment is journal.current
    assert segment is not None
    found, _ = scan(tmp_path / "copy", segment.path.read_bytes())
    assert [record["id"] for record in found] == ["second"]


def test_a_segment_outlives_its_retirement_while_a_thread_holds_it(tmp_path: Path) -> None:
    """The descriptor is closed with the last reference: no thread can meet somebody else's file."""
    journal = make(tmp_path / "j")
    held, _ = journal.write({"id": "a"})
    assert held is not None
    journal.rotate()
    journal.drop(journal.retired[0])
    descriptor = held.fd
    os.fstat(descriptor)
    del held
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_short_write_is_not_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a record on the disk is no record; the next one, when there is room again, is whole."""
    journal = make(tmp_path / "j")
    journal.write({"id": "a"})
    real = os.write
    monkeypatch.setattr(_journal, "_write", lambda descriptor, data: real(descriptor, data[:7]))
    assert journal.write({"id": "torn"})[0] is None
    assert journal.durability == "memory"
    monkeypatch.setattr(_journal, "_write", real)
    segment, _ = journal.write({"id": "b"})
    assert segment is not None
    assert journal.durability == "process"
    found, scanner = scan(tmp_path / "copy", segment.path.read_bytes())
    assert [record["id"] for record in found] == ["a", "b"]
    assert scanner.damaged == 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
def test_an_error_of_the_disk_is_counted_not_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Whatever the disk says, the caller goes on, and the journal recovers by itself."""
    journal = make(tmp_path / "j")
    journal.write({"id": "a"})

    def refuse(descriptor: int, data: bytes) -> int:
        raise OSError(code, os.strerror(code))

    real = os.write
    monkeypatch.setattr(_journal, "_write", refuse)
    assert journal.write({"id": "b"})[0] is None
    monkeypatch.setattr(_journal, "_write", real)
    assert journal.write({"id": "c"})[0] is not None
    assert journal._health.snapshot()["warnings"] == []


def test_a_stalled_disk_stops_three_writes_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three slow writes callers no longer wait for the disk; the background may still write."""
    journal = make(tmp_path / "j")
    journal.write({"id": "a"})
    real, stalls = os.write, []

    def stall(descriptor: int, data: bytes) -> int:
        stalls.append(1)
        threading.Event().wait(0.05)
        return real(descriptor, data)

    monkeypatch.setattr(_journal, "_write", stall)
    for _ in range(20):
        journal.write({"id": "b"})
    assert len(stalls) == 3
    assert journal.durability == "degraded"
    assert journal.write_many([{"id": "c"}])[0] is not None


def test_waiting_for_the_interpreter_is_no_stall(tmp_path: Path) -> None:
    """A busy thread keeps the interpreter from writers for milliseconds; that is not the disk's fault."""
    journal = make(tmp_path / "j")
    done = threading.Event()
    busy = [threading.Thread(target=lambda: [None for _ in iter(done.is_set, True)]) for _ in range(3)]
    for thread in busy:
        thread.start()
    for _ in range(40):
        journal.write({"id": "a"})
    done.set()
    for thread in busy:
        thread.join()
    assert journal.durability == "process"


def test_over_its_quota_the_journal_writes_no_more(tmp_path: Path) -> None:
    """A journal that nobody empties stops growing, and begins again when there is room."""
    journal = make(tmp_path / "j", quota_bytes=2000)
    while journal.measure() <= 2000:
        assert journal.write({"id": "a", "model": "m" * 100})[0] is not None
    assert journal.durability == "memory"
    assert journal.write({"id": "b"})[0] is None
    journal.rotate()
    journal.drop(journal.retired[0])
    journal.measure()
    assert journal.write({"id": "c"})[0] is not None


def test_power_durability_syncs_every_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `durability="power"` a record is on the medium when `write` returns."""
    synced: list[int] = []
    monkeypatch.setattr(_segment, "_sync", synced.append)
    journal = make(tmp_path / "j", durability="power")
    for count in range(1, 4):
        journal.write({"id": "a"})
        assert len(synced) == count


# --- folders -------------------------------------------------------------------------------------


def test_each_database_has_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One folder a database: by absolute URL, whatever the password and the working directory."""
    monkeypatch.chdir(tmp_path)
    names = {
        journal_folder(tmp_path, url).name
        for url in (
            "sqlite:///a.db",
            f"sqlite:///{tmp_path}/a.db",
            f"sqlite:///{tmp_path}/x/../a.db?timeout=3",
        )
    }
    assert len(names) == 1
    secret = {
        journal_folder(tmp_path, url).name
        for url in (
            "postgresql://u:old@h/d?a=1&b=2",
            "postgresql+psycopg://u:new@H/d?b=2&a=1",
            "postgresql://u@h/d?password=x&a=1&b=2",
        )
    }
    assert len(secret) == 1
    others = {
        journal_folder(tmp_path, url).name
        for url in ("sqlite:///b.db", "postgresql://u@h/e", "postgresql://v@h/d")
    }
    assert len(others | names | secret) == 5


def test_a_living_owner_is_never_adopted(tmp_path: Path) -> None:
    """Nobody gets the segments of a journal that is open, not even within its own process."""
    journal = make(tmp_path / "j")
    journal.write({"id": "a"})
    journal.rotate()
    assert [take(paths) for paths in owners(journal.folder).values()] == [None]
    assert len(owners(journal.folder)) == 1


def test_a_dead_owner_is_adopted_by_one_only(tmp_path: Path) -> None:
    """Of two importers one gets the segments, and only once they are let go the other."""
    journal = make(tmp_path / "j")
    journal.write({"id": "a"})
    kill(journal)
    (paths,) = owners(journal.folder).values()
    first = take(paths)
    assert first is not None
    (paths,) = owners(journal.folder).values()
    assert take(paths) is None
    first.release()
    again = take(paths)
    assert again is not None
    assert [record["id"] for _, record, _ in again.ends()] == []
    assert list(again.open) == ["a"]


def test_a_call_that_began_in_one_segment_may_end_in_the_next(tmp_path: Path) -> None:
    """The segments of an owner are read together: an end anywhere closes a start anywhere."""
    journal = make(tmp_path / "j")
    a, b, c = started(), started(), started()
    journal.write(a)
    journal.write(b)
    journal.rotate()
    journal.write(ended(a))
    journal.write(a)
    journal.write({**b, "output_tokens": 7})
    journal.write(ended(c))
    kill(journal)
    (paths,) = owners(journal.folder).values()
    calls = take(paths)
    assert calls is not None
    assert [record["id"] for _, record, _ in calls.ends()] == [a["id"], c["id"]]
    assert list(calls.open) == [b["id"]]
    row = interrupted(calls.open[b["id"]])
    assert (row["status"], row["finality"], row["output_tokens"]) == ("interrupted", PROVISIONAL, 7)
    assert (row["process_id"], row["host"]) == ("1", "here")
    assert "ended_at" not in row
    assert row["usage_source"] == "missing"
    calls.release()


def test_running_calls_are_seen_from_outside(tmp_path: Path) -> None:
    """A reader in another process sees the calls that run: started, not ended, over all segments."""
    journals = [make(tmp_path / "j") for _ in range(2)]
    starts = [started() for _ in range(4)]
    for journal, (one, two) in zip(journals, (starts[:2], starts[2:]), strict=True):
        journal.write(one)
        journal.write(two)
        journal.rotate()
        journal.write(ended(two))
    assert [record["id"] for record in read_running(tmp_path / "j")] == [starts[0]["id"], starts[2]["id"]]
    assert read_running(tmp_path / "nowhere") == []


def test_without_file_locks_the_process_number_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a filesystem that knows no locks a living owner is left alone, and a dead one is adopted."""

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    journal = make(tmp_path / "j")
    assert journal.write({"id": "a"})[0] is not None
    (paths,) = owners(journal.folder).values()
    assert take(paths) is None
    dead = paths[0].with_name("999999999-dead-1.seg")
    paths[0].rename(dead)
    calls = take([dead])
    assert calls is not None
    calls.release()


def test_the_encoder_is_chosen_once() -> None:
    """Where orjson is missing, the standard library does."""
    import builtins
    import sys

    real, blocked = builtins.__import__, sys.modules.pop("orjson", None)

    def no_orjson(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "orjson":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    builtins.__import__ = no_orjson
    try:
        assert _frames._pick_encoder() is encode_with_json
    finally:
        builtins.__import__ = real
        if blocked is not None:
            sys.modules["orjson"] = blocked


def test_the_driver_is_no_part_of_a_database(tmp_path: Path) -> None:
    """A URL with its driver and one without it are one database, and have one journal."""
    assert journal_folder(tmp_path, "postgresql://u@h/db") == journal_folder(
        tmp_path, "postgresql+psycopg://u:pw@h/db"
    )
