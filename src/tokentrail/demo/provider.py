"""A provider on 127.0.0.1 that answers as scripted and keeps the truth: what it really sent to whom."""

from __future__ import annotations

import json
import select
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

from tokentrail.demo._anthropic import MESSAGES
from tokentrail.demo._openai import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES
from tokentrail.demo._reply import DEFAULT_USAGE, MISSING, Reply, Sent
from tokentrail.demo._wire import Answer, Dialect, Event, fields_of

__all__ = ["DEFAULT_USAGE", "MISSING", "FakeProvider", "Reply", "Sent"]

_DIALECTS: Final[Mapping[str, Dialect]] = {
    "/chat/completions": CHAT,
    "/completions": COMPLETIONS,
    "/embeddings": EMBEDDINGS,
    "/responses": RESPONSES,
    "/messages": MESSAGES,
}
"""The end of a path → its dialect; the first that fits, so that `/chat/completions` is not `/completions`."""


class FakeProvider:
    """OpenAI's and Anthropic's endpoints on loopback, in daemon threads; a context manager.

    Answers go by the model of the request: the replies scripted for it in order, the last one for ever; else
    those of `"*"`; else `Reply()`.

    Args:
        dialects: further endpoints by the end of their path, tried before its own.

    Example:
        >>> with FakeProvider() as provider:
        ...     provider.script("gpt-4o-mini", Reply(status=429), Reply(text="now"))
        ...     base_url = provider.url + "/v1"
    """

    def __init__(self, dialects: Mapping[str, Dialect] | None = None) -> None:
        self._dialects = {**(dialects or {}), **_DIALECTS}
        self.sent: list[Sent] = []
        """Every request in the order of arrival."""
        self.faults: list[BaseException] = []
        """Errors of the provider itself; a test that finds one has found a fault of the provider."""
        self._scripts: dict[str, list[Reply]] = {}
        self._turns: dict[str, int] = {}
        self._changed = threading.Condition()
        self._released = threading.Event()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.provider = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        """Anthropic's base URL; OpenAI's is this with `/v1`."""
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.02},
            name="loopback-provider",
            daemon=True,
        )
        self._thread.start()

    def script(self, model: str, *replies: Reply) -> None:
        """Answer requests for a model (`"*"`: any other) with these replies, the last one for ever."""
        with self._changed:
            self._scripts[model] = list(replies)
            self._turns[model] = 0

    def release(self) -> None:
        """Let stalled answers go on, those to come as well."""
        self._released.set()

    def wait_for(self, n: int, timeout: float = 10.0, *, chunks: int = 0, ended: bool = False) -> list[Sent]:
        """Wait until `n` requests came and each got so many chunks, or is `ended`; give these requests.

        Raises:
            TimeoutError: they did not within `timeout` seconds.
        """

        def there() -> bool:
            found = self.sent[:n]
            return len(found) == n and all(
                one.chunks_sent >= chunks and (one.ended or not ended) for one in found
            )

        with self._changed:
            if not self._changed.wait_for(there, timeout):
                states = [(one.path, one.chunks_sent, one.ended) for one in self.sent]
                raise TimeoutError(
                    f"waited {timeout} s for {n} requests (chunks={chunks}, ended={ended}): {states}"
                )
            return self.sent[:n]

    def close(self) -> None:
        """Cut every connection and stop; nothing of the provider runs afterwards."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.cut()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # --- for the handler -------------------------------------------------------------------------

    def _dialect(self, path: str) -> Dialect | None:
        return next((one for end, one in self._dialects.items() if path.endswith(end)), None)

    def _arrived(self, dialect: Dialect, path: str, body: dict[str, Any], headers: dict[str, str]) -> Sent:
        model, stream = dialect.asked(path, body)
        with self._changed:
            sent = Sent(
                number=len(self.sent) + 1,
                path=path,
                model=model,
                body=body,
                headers=headers,
                reply=self._next(model),
                counter=dialect.counts,
                stream=stream,
            )
            sent.status, sent.request_id = sent.reply.status, f"req_{sent.number:08d}"
            self.sent.append(sent)
            self._changed.notify_all()
        return sent

    def _next(self, model: str) -> Reply:
        name = model if model in self._scripts else "*"
        replies = self._scripts.get(name)
        if not replies:
            return Reply()
        turn = self._turns[name]
        self._turns[name] = turn + 1
        return replies[min(turn, len(replies) - 1)]

    def _note(
        self, sent: Sent, *, chunk: bool = False, usage: Mapping[str, Any] | None = None, **facts: bool
    ) -> None:
        with self._changed:
            if usage is not None:
                sent.usage = {**(sent.usage or {}), **usage}
                sent.counts = sent.counter(sent.usage)
            sent.chunks_sent += chunk
            for name, fact in facts.items():
                setattr(sent, name, fact)
            self._changed.notify_all()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    provider: FakeProvider

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._lock = threading.Condition()
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._lock:
            self._open.discard(request)
            self._lock.notify_all()

    def cut(self) -> None:
        """Wake handlers that wait for another request on a kept connection, and see them off."""
        with self._lock:
            for connection in list(self._open):
                _hang_up(connection)
            self._lock.wait_for(lambda: not self._open, timeout=5.0)

    def handle_error(self, *_: Any) -> None:
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, ConnectionError):
            self.provider.faults.append(error)


class _CutError(Exception):
    """The answer ends here, on purpose or because nobody listens any more."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: object) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        self._json(200, {"object": "list", "data": []}, {})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        body = fields_of(raw, self.headers.get("content-type", ""))
        path = self.path.split("?", 1)[0]
        provider = self.server.provider
        dialect = provider._dialect(path)
        if dialect is None:
            self._json(404, {"error": {"message": f"no endpoint {path}", "type": "not_found"}}, {})
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        sent = provider._arrived(dialect, path, body, headers)
        try:
            self._answer(provider, sent, dialect)
        except _CutError:
            self.close_connection = True
            _hang_up(self.connection)
        except ConnectionError:
            self.close_connection = True
            provider._note(sent, client_gone=True, completed=False)
        finally:
            provider._note(sent, ended=True)

    def _answer(self, provider: FakeProvider, sent: Sent, dialect: Dialect) -> None:
        reply, answer = sent.reply, Answer(sent.reply, sent.body, sent.number)
        if reply.delay:
            self._pause(provider, sent, reply.delay)
        headers = {"x-request-id": sent.request_id, "request-id": sent.request_id, **reply.headers}
        if reply.status != 200 or reply.body is not None:
            body = dialect.error(answer) if reply.body is None else reply.body
            usage = dialect.told(body) if isinstance(body, Mapping) else None
            usage = usage if isinstance(usage, Mapping) else None
            provider._note(sent, usage=usage, completed=True)
            self._json(reply.status, body, headers)
        elif sent.stream:
            self._stream(provider, sent, dialect, answer, headers)
        else:
            if reply.stall_after is not None:
                self._pause(provider, sent, None)
            if reply.cut_after is not None:
                raise _CutError
            whole = dialect.whole(answer)
            # Noted before it is written: a client that has read it finds it noted.
            provider._note(sent, usage=dialect.told(whole), completed=True)
            self._json(200, whole, headers)

    def _json(self, status: int, body: Any, headers: dict[str, str]) -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        for name, value in {
            "content-type": "application/json",
            **headers,
            "content-length": str(len(data)),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    # --- streams ---------------------------------------------------------------------------------

    def _stream(
        self, provider: FakeProvider, sent: Sent, dialect: Dialect, answer: Answer, headers: dict[str, str]
    ) -> None:
        self.send_response(200)
        for name, value in {
            "content-type": dialect.content_type,
            **headers,
            "transfer-encoding": "chunked",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        for event in _until_error(dialect, answer):
            if event.counts:
                self._before_chunk(provider, sent)
            self._look(provider, sent)
            provider._note(sent, chunk=event.counts, usage=event.usage)
            self._write(dialect.frame(event))
        self._look(provider, sent)
        provider._note(sent, completed=True)
        if dialect.done:
            self._write(dialect.frame(Event("[DONE]")))
        self.wfile.write(b"0\r\n\r\n")

    def _before_chunk(self, provider: FakeProvider, sent: Sent) -> None:
        reply = sent.reply
        if reply.cut_after == sent.chunks_sent:
            raise _CutError
        if reply.stall_after == sent.chunks_sent:
            self._pause(provider, sent, None)
        if reply.pace:
            self._pause(provider, sent, reply.pace)

    def _write(self, frame: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(frame), frame))

    def _pause(self, provider: FakeProvider, sent: Sent, seconds: float | None) -> None:
        """Wait so long (`None`: until released), unless the client leaves or the provider closes."""
        waited, until = 0.0, provider._released if seconds is None else provider._closing
        while seconds is None or waited < seconds:
            step = 0.01 if seconds is None else min(0.01, seconds - waited)
            if until.wait(step):
                break
            self._look(provider, sent)
            waited += step
        if provider._closing.is_set():
            raise _CutError

    def _look(self, provider: FakeProvider, sent: Sent) -> None:
        """Notice a client that has left; a first write to it would succeed all the same."""
        ready, _, _ = select.select([self.connection], [], [], 0)
        if ready and not self.connection.recv(1, socket.MSG_PEEK):
            provider._note(sent, client_gone=True)
            raise _CutError


def _until_error(dialect: Dialect, answer: Answer) -> Iterator[Event]:
    chunks = 0
    for event in dialect.events(answer):
        if event.counts and chunks == answer.reply.error_after:
            error = dialect.error(answer)
            yield Event(error, "error" if event.name else None)
            return
        chunks += event.counts
        yield event


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the other side was faster
