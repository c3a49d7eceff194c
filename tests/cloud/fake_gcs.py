"""A server of Google's XML API, as far as Lance and obstore use it: objects in memory, no login.

Run as a program with a port. The emulators that there are lack the listing, or the simple put,
of this API, which is the one that Lance speaks.
https://cloud.google.com/storage/docs/xml-api/reference-methods
"""

from __future__ import annotations

import hashlib
import re
import sys
import threading
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKETS = ("slaf-test", "my-bucket")
_PAGE = 1000


@dataclass
class Stored:
    """An object of a bucket."""

    data: bytes
    generation: int
    changed: float = field(default_factory=time.time)
    etag: str = field(init=False)

    def __post_init__(self) -> None:
        self.etag = f'"{hashlib.md5(self.data, usedforsecurity=False).hexdigest()}"'

    def headers(self) -> dict[str, str]:
        """What is told of it."""
        return {
            "ETag": self.etag,
            "x-goog-generation": str(self.generation),
            "Last-Modified": formatdate(self.changed, usegmt=True),
        }


class Bucket:
    """Objects by name, and uploads that are not complete."""

    def __init__(self) -> None:
        self.objects: dict[str, Stored] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    buckets = {name: Bucket() for name in BUCKETS}  # noqa: RUF012 - the state of the server
    lock = threading.Lock()
    generations = count(1)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""

    def do_GET(self) -> None:
        """Give an object, or a list of them."""
        bucket, name, query = self._target()
        if bucket is None:
            self._refuse(HTTPStatus.NOT_FOUND, "NoSuchBucket")
        elif not name:
            self._list(bucket, query)
        elif name not in bucket.objects:
            self._refuse(HTTPStatus.NOT_FOUND, "NoSuchKey")
        else:
            self._give(bucket.objects[name])

    do_HEAD = do_GET  # noqa: N815 - the name that the library looks for

    def do_PUT(self) -> None:
        """Take an object, a part of one, or a copy of another."""
        bucket, name, query = self._target()
        data = self._body()
        if bucket is None:
            self._refuse(HTTPStatus.NOT_FOUND, "NoSuchBucket")
            return
        copied = unquote(self.headers.get("x-goog-copy-source", "")).lstrip("/").partition("/")[2]
        if copied:
            data = bucket.objects[copied].data
        if "uploadId" in query:
            bucket.uploads[query["uploadId"]][int(query["partNumber"])] = data
            etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
            self._answer(HTTPStatus.OK, headers={"ETag": f'"{etag}"'})
            return
        self._store(bucket, name, data)

    def do_POST(self) -> None:
        """Begin an upload of parts, or end it."""
        bucket, name, query = self._target()
        self._body()
        if bucket is None:
            self._refuse(HTTPStatus.NOT_FOUND, "NoSuchBucket")
        elif "uploadId" in query:
            parts = bucket.uploads.pop(query["uploadId"])
            self._store(bucket, name, b"".join(parts[number] for number in sorted(parts)))
        else:
            upload = f"upload-{next(self.generations)}"
            bucket.uploads[upload] = {}
            self._xml("InitiateMultipartUploadResult", f"<UploadId>{upload}</UploadId>")

    def do_DELETE(self) -> None:
        """Remove an object, or an upload."""
        bucket, name, query = self._target()
        if bucket is not None and "uploadId" in query:
            bucket.uploads.pop(query["uploadId"], None)
            self._answer(HTTPStatus.NO_CONTENT)
        elif bucket is None or bucket.objects.pop(name, None) is None:
            self._refuse(HTTPStatus.NOT_FOUND, "NoSuchKey")
        else:
            self._answer(HTTPStatus.NO_CONTENT)

    def _target(self) -> tuple[Bucket | None, str, dict[str, str]]:
        url = urlsplit(self.path)
        bucket, _, name = unquote(url.path).lstrip("/").partition("/")
        query = {
            key: values[0] for key, values in parse_qs(url.query, keep_blank_values=True).items()
        }
        return self.buckets.get(bucket), name, query

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _store(self, bucket: Bucket, name: str, data: bytes) -> None:
        wanted = self.headers.get("x-goog-if-generation-match")
        with self.lock:
            there = bucket.objects.get(name)
            if wanted is not None and int(wanted) != (there.generation if there else 0):
                self._refuse(HTTPStatus.PRECONDITION_FAILED, "PreconditionFailed")
                return
            stored = bucket.objects[name] = Stored(data, next(self.generations))
        self._xml("CompleteMultipartUploadResult", f"<ETag>{stored.etag}</ETag>", stored.headers())

    def _give(self, stored: Stored) -> None:
        wanted = self.headers.get("If-Match")
        if wanted is not None and wanted != stored.etag:
            self._refuse(HTTPStatus.PRECONDITION_FAILED, "PreconditionFailed")
            return
        headers, size = stored.headers(), len(stored.data)
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            self._answer(HTTPStatus.OK, stored.data, headers)
            return
        first = int(asked[1]) if asked[1] else max(size - int(asked[2]), 0)
        last = min(int(asked[2]), size - 1) if asked[1] and asked[2] else size - 1
        if first >= size:
            self._refuse(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "InvalidRange")
            return
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        self._answer(HTTPStatus.PARTIAL_CONTENT, stored.data[first : last + 1], headers)

    def _list(self, bucket: Bucket, query: dict[str, str]) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token", query.get("start-after", ""))
        entries: dict[str, str] = {}
        for name, stored in sorted(bucket.objects.items()):
            if not name.startswith(prefix):
                continue
            end = name.find(delimiter, len(prefix)) if delimiter else -1
            if end >= 0:
                shared = name[: end + len(delimiter)]
                entries[shared] = (
                    f"<CommonPrefixes><Prefix>{escape(shared)}</Prefix></CommonPrefixes>"
                )
                continue
            changed = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(stored.changed))
            entries[name] = (
                f"<Contents><Key>{escape(name)}</Key><LastModified>{changed}</LastModified>"
                f"<Size>{len(stored.data)}</Size><ETag>{stored.etag}</ETag></Contents>"
            )
        names = [name for name in entries if name > after]
        shown = names[: min(int(query.get("max-keys", _PAGE)), _PAGE)]
        more = len(names) > len(shown)
        token = (
            f"<NextContinuationToken>{escape(shown[-1])}</NextContinuationToken>" if more else ""
        )
        self._xml("ListBucketResult", "".join(entries[name] for name in shown) + token)

    def _xml(self, element: str, content: str, headers: dict[str, str] | None = None) -> None:
        self._answer(HTTPStatus.OK, f"<{element}>{content}</{element}>".encode(), headers)

    def _refuse(self, status: HTTPStatus, code: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code></Error>".encode())

    def _answer(
        self, status: HTTPStatus, data: bytes = b"", headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


if __name__ == "__main__":
    # Five by default: a client with more connections at once would wait.
    ThreadingHTTPServer.request_queue_size = 128
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
