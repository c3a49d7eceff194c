"""What stands between us and a server: it counts what passes, and breaks what it is told to."""

from __future__ import annotations

import gc
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Fault", "Passed", "Proxy", "proxied"]

# Between the two ends of one connection only.
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
_DRIP = 16


class Fault(StrEnum):
    """What may happen to a request."""

    ERROR_500 = "500"
    ERROR_503 = "503"
    FORBIDDEN = "403"
    CUT_BEFORE = "the connection is cut before the server sees the request"
    CUT_AFTER = "the server has taken the request, and the connection is cut before it answers"
    SLOW = "the answer comes in drips"
    HANG = "no answer comes"


@dataclass(frozen=True)
class Passed:
    """A request that came by."""

    method: str
    path: str
    sent: int
    received: int
    status: int
    fault: Fault | None


class Proxy:
    """Passes requests on, one thread for each connection.

    Attributes
    ----------
    endpoint
        Its own address.
    passed
        What came by, in the order in which it was finished.
    most_in_flight
        The most requests that were under way at one time.
    rule
        What happens to a request: it is given the method, the path and how many came before.
    delay
        Seconds that each request takes at the least.
    hang
        Seconds that a request is held by `Fault.HANG`.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.passed: list[Passed] = []
        self.most_in_flight = 0
        self.rule: Callable[[str, str, int], Fault | None] = lambda _method, _path, _number: None
        self.delay = 0.0
        self.hang = 3.0
        self._lock = threading.Lock()
        self._in_flight = 0
        self._seen = 0
        handler = type("Handler", (_Handler,), {"proxy": self})
        self.server = _Server(("127.0.0.1", 0), handler)
        host, port = self.server.server_address[:2]
        self.endpoint = f"http://{host!s}:{port}"

    @contextmanager
    def flight(self, method: str, path: str) -> Iterator[Fault | None]:
        """Surround one request."""
        with self._lock:
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
            number, self._seen = self._seen, self._seen + 1
        try:
            time.sleep(self.delay)
            yield self.rule(method, path, number)
        finally:
            with self._lock:
                self._in_flight -= 1

    def settle(self) -> None:
        """Wait until no request is under way."""
        while self._in_flight:
            time.sleep(0.01)

    def received(self) -> int:
        """The bytes of all answers."""
        return sum(passed.received for passed in self.passed)


@contextmanager
def proxied(upstream: str) -> Iterator[Proxy]:
    """A proxy before the server at this address, while the block runs.

    Nothing looks for cycles meanwhile. A thread of the proxy that found an object of HDF5 in one
    would wait for the lock of HDF5 to free it, and the reader that has the lock waits for the
    proxy: no request would be answered until it timed out.
    """
    proxy = Proxy(upstream)
    thread = threading.Thread(target=proxy.server.serve_forever, daemon=True)
    was_enabled = gc.isenabled()
    gc.disable()
    thread.start()
    try:
        yield proxy
    finally:
        proxy.server.shutdown()
        proxy.server.server_close()
        if was_enabled:
            gc.enable()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    # Five by default: a client with more connections at once waits for a second, or for minutes.
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: Proxy

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""

    def handle_one_request(self) -> None:
        """Serve a request, unless the client goes away."""
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.proxy.flight(self.command, self.path) as fault:
            status, data = self._serve(body, fault)
        record = Passed(self.command, self.path, len(body), len(data), status, fault)
        self.proxy.passed.append(record)

    # The names that the library looks for.
    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass  # noqa: N815

    def _serve(self, body: bytes, fault: Fault | None) -> tuple[int, bytes]:
        if fault is Fault.HANG:
            time.sleep(self.proxy.hang)
        if fault in {Fault.CUT_BEFORE, Fault.HANG}:
            self.close_connection = True
            return 0, b""
        if fault in {Fault.ERROR_500, Fault.ERROR_503, Fault.FORBIDDEN}:
            text = b"<Error><Code>AccessDenied</Code></Error>" if fault is Fault.FORBIDDEN else b""
            self._answer(int(fault), {}, text)
            return int(fault), text
        status, headers, data = self._upstream(body)
        if fault is Fault.CUT_AFTER:
            self.close_connection = True
            return 0, b""
        self._answer(status, headers, data, slow=fault is Fault.SLOW)
        return status, data if self.command != "HEAD" else b""

    def _upstream(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        address = urlsplit(self.proxy.upstream)
        connection = HTTPConnection(address.hostname or "", address.port, timeout=60)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP}
            headers["Content-Length"] = str(len(body))
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
            kept = {k: v for k, v in answer.getheaders() if k.lower() not in _HOP}
            if self.command == "HEAD" and answer.getheader("Content-Length"):
                kept["Content-Length"] = answer.getheader("Content-Length") or "0"
        except HTTPException as error:
            raise OSError(error) from error
        finally:
            connection.close()
        return answer.status, kept, data

    def _answer(
        self, status: int, headers: dict[str, Any], data: bytes, *, slow: bool = False
    ) -> None:
        self.send_response_only(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if not slow:
            self.wfile.write(data)
            return
        step = max(len(data) // _DRIP, 1)
        for start in range(0, len(data), step):
            self.wfile.write(data[start : start + step])
            self.wfile.flush()
            time.sleep(0.02)
