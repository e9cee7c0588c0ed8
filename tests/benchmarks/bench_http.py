"""What an answer over HTTP costs: beside a FastAPI hello, at the start, and while calls are written.

    python tests/benchmarks/bench_http.py

Every server is real uvicorn in a process of its own; the reader is `Load`, raw sockets on keep-alive.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from tokentrail import Tracker
from tokentrail.server._keys import token_of

HELLO = """
import sys, uvicorn
from fastapi import FastAPI
from tokentrail.server._serving import Impatient
app = FastAPI()
@app.get("/")
async def hello() -> dict[str, str]:
    return {"hello": "world"}
uvicorn.run(app, port=int(sys.argv[1]), http=Impatient, access_log=False, log_level="warning", loop="asyncio")
"""
ROWS = int(os.environ.get("ROWS", "20000"))


def free_port() -> int:
    """A port nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def request(path: str, token: str = "") -> bytes:
    """One request on a connection that stays."""
    auth = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{auth}\r\n".encode()


class Connection:
    """A keep-alive connection."""

    def __init__(self, port: int) -> None:
        self.wire = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, data: bytes) -> int:
        """Send a request, read the whole answer; its status."""
        self.wire.sendall(data)
        found = b""
        while b"\r\n\r\n" not in found:
            found += self._read()
        head, _, body = found.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length"))
        while len(body) < length:
            body += self._read()
        return int(head.split()[1])

    def _read(self) -> bytes:
        piece = self.wire.recv(262144)
        if not piece:
            raise ConnectionError("closed")
        return piece


def rate(port: int, data: bytes, seconds: float, connections: int = 8) -> float:
    """Requests a second."""
    counts = [0] * connections
    until = time.monotonic() + seconds

    def read(index: int) -> None:
        connection = Connection(port)
        while time.monotonic() < until:
            assert connection.ask(data) == 200
            counts[index] += 1

    threads = [threading.Thread(target=read, args=(index,)) for index in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def wait_for(port: int, data: bytes) -> float:
    """Seconds until the first answer."""
    begun = time.perf_counter()
    while time.perf_counter() - begun < 60:
        try:
            Connection(port).ask(data)
            return time.perf_counter() - begun
        except OSError:
            time.sleep(0.01)
    raise TimeoutError


def rss(pid: int) -> float:
    """MiB of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise LookupError


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fill(tracker: Tracker, rows: int) -> None:
    """Calls of some models and users."""
    for number in range(rows):
        tracker.record(
            model=f"model-{number % 24}",
            provider="openai",
            usage={"prompt_tokens": 1000, "completion_tokens": 100},
            user_id=f"user-{number % 500}",
            duration_ms=1000 + number % 100,
        )
        if number % 5000 == 4999:
            tracker.flush()
    tracker.flush()


def beside_hello(port: int, hello: int, token: str) -> None:
    """Rounds, one after the other, so that both meet the same machine."""
    paths = ("/healthz", "/api/v1/breakdown", "/api/v1/overview", "/api/v1/timeseries?granularity=day")
    for path in paths:
        data = request(path, token)
        pairs = [(rate(port, data, 1.5), rate(hello, request("/"), 1.5)) for _ in range(3)]
        ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(one / other for one, other in pairs)
        print(f"{path:36} {ours:8.0f}/s   hello {theirs:8.0f}/s   {ratio:.2f} x hello")


def while_writing(port: int, token: str, url: str, pid: int) -> None:
    """1,000 readers on their own connections, while 20,000 calls a minute are written"""
    stop, written, slowest = threading.Event(), [0], [0.0]

    def write() -> None:
        with Tracker(url, summary_interval=0) as tracker:
            begun = time.perf_counter()
            while not stop.is_set():
                start = time.perf_counter()
                tracker.record(model="model-1", provider="openai", usage={"prompt_tokens": 10})
                slowest[0] = max(slowest[0], time.perf_counter() - start)
                written[0] += 1
                pause = begun + written[0] * 60 / 20_000 - time.perf_counter()
                if pause > 0:
                    time.sleep(pause)

    writer = threading.Thread(target=write)
    before = rss(pid)
    writer.start()
    data, errors, answered = request("/api/v1/overview", token), [], []

    def read() -> None:
        try:
            connection = Connection(port)
            begun = time.perf_counter()
            status = connection.ask(data)
            answered.append(time.perf_counter() - begun)
            if status != 200:
                errors.append(status)
        except OSError as error:
            errors.append(repr(error))

    begun = time.perf_counter()
    readers = [threading.Thread(target=read) for _ in range(1000)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    took = time.perf_counter() - begun
    stop.set()
    writer.join()
    middle, last = statistics.median(answered), max(answered)
    print(f"1,000 readers: {len(answered)} answered in {took:.1f} s, {len(errors)} errors {errors[:3]}")
    print(f"  median {middle:.2f} s, slowest {last:.2f} s; memory {before:.0f} → {rss(pid):.0f} MiB")
    print(f"  {written[0]} calls written meanwhile, the slowest in {slowest[0] * 1000:.1f} ms")


def main() -> None:
    """All of it."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TOKENTRAIL_DATA_DIR"] = folder
        url = f"sqlite:///{folder}/usage.db"
        with Tracker(url, summary_interval=0) as tracker:
            fill(tracker, ROWS)
        port, hello = free_port(), free_port()
        serve = [sys.executable, "-m", "tokentrail", "serve", "--port", str(port), "--database", url]
        token = token_of(Path(folder))
        server = subprocess.Popen(serve, stdout=subprocess.DEVNULL)
        try:
            seconds = wait_for(port, request("/api/v1/overview", token))
            print(
                f"serve: first answer after {seconds:.2f} s ({cpu(server.pid):.2f} s of CPU), "
                f"{rss(server.pid):.0f} MiB, {ROWS:,} rows",
                flush=True,
            )
            other = subprocess.Popen([sys.executable, "-c", HELLO, str(hello)])
            try:
                wait_for(hello, request("/"))
                beside_hello(port, hello, token)
            finally:
                other.kill()
            while_writing(port, token, url, server.pid)
        finally:
            server.kill()


if __name__ == "__main__":
    main()
