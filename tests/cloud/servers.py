"""Servers of S3, Azure and Google storage on this machine, and how to reach them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, replace
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError
from uuid import uuid4

import obstore
import pytest

from slaf.storage.object_options import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["SECRETS", "Cloud", "azurite", "fake_gcs", "moto", "upload"]

BUCKET = "slaf-test"
# The other is the one of the documentation.
_BUCKETS = (BUCKET, "my-bucket")
_PATIENCE = 60.0
_ACCOUNT = "devstoreaccount1"
# What no config.json, log or error may show.
S3_KEY, S3_SECRET = "AKIASLAFTESTS0KEYID7", "a+secret/that+n0body+may+see+S3KEY0123456"
AZURE_KEY = base64.b64encode(b"a key of Azure that nobody may see, as long as theirs").decode()
GCS_KEY = "a-private-key-of-google-that-nobody-may-see"
SECRETS = (S3_KEY, S3_SECRET, AZURE_KEY, GCS_KEY)
_AZURITE = Path(sys.prefix) / "node" / "node_modules" / "azurite" / "dist/src/blob/main.js"


@dataclass(frozen=True)
class Cloud:
    """A bucket of a server, and the options that reach it.

    Attributes
    ----------
    name
        "s3", "az" or "gs".
    endpoint
        Where the server listens.
    root
        The URL below which all is empty.
    """

    name: str
    endpoint: str
    root: str

    @property
    def options(self) -> dict[str, str]:
        """The options that the library and the program take."""
        if self.name == "s3":
            return {
                "aws_endpoint": self.endpoint,
                "aws_region": "us-east-1",
                "aws_access_key_id": S3_KEY,
                "aws_secret_access_key": S3_SECRET,
                "allow_http": "true",
            }
        if self.name == "az":
            return {
                "azure_storage_account_name": _ACCOUNT,
                "azure_storage_account_key": AZURE_KEY,
                "azure_endpoint": f"{self.endpoint}/{_ACCOUNT}",
                "allow_http": "true",
            }
        service = (
            f'{{"gcs_base_url": "{self.endpoint}", "disable_oauth": true, "client_email": "", '
            f'"private_key": "{GCS_KEY}", "private_key_id": ""}}'
        )
        return {"google_service_account_key": service, "allow_http": "true"}

    def words(self) -> list[str]:
        """The options as the command line takes them."""
        return [w for k, v in self.options.items() for w in ("--storage-option", f"{k}={v}")]

    def environment(self, folder: Path) -> dict[str, str]:
        """The variables that reach it, of which one may name a file in a folder."""
        if self.name == "s3":
            return {
                "AWS_ENDPOINT_URL": self.endpoint,
                "AWS_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": S3_KEY,
                "AWS_SECRET_ACCESS_KEY": S3_SECRET,
                "AWS_ALLOW_HTTP": "true",
            }
        if self.name == "az":
            return {
                "AZURE_STORAGE_ACCOUNT_NAME": _ACCOUNT,
                "AZURE_STORAGE_ACCOUNT_KEY": AZURE_KEY,
                "AZURE_ENDPOINT": self.options["azure_endpoint"],
                "AZURE_ALLOW_HTTP": "true",
            }
        service = folder / "service.json"
        service.write_text(self.options["google_service_account_key"])
        return {"GOOGLE_SERVICE_ACCOUNT": str(service), "GOOGLE_ALLOW_HTTP": "true"}

    def fresh(self) -> Cloud:
        """Another place of the same server, where there is nothing."""
        bucket = BUCKET
        if self.name == "s3":
            # For a list this server looks at every object of a bucket.
            bucket = f"{BUCKET}-{uuid4().hex}"
            _request("PUT", f"{self.endpoint}/{bucket}", {})
        return replace(self, root=f"{self.name}://{bucket}/{uuid4().hex}")

    def via(self, endpoint: str) -> Cloud:
        """The same place, reached by another address."""
        return replace(self, endpoint=endpoint)

    def at(self, name: str) -> str:
        """The URL of something in it."""
        return f"{self.root}/{name}"


def upload(cloud: Cloud, path: Path) -> str:
    """Put a file, or a folder of them, into a bucket; its URL."""
    store = open_store(cloud.root, cloud.options)
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        if file.is_file():
            obstore.put(store, file.relative_to(path.parent).as_posix(), file.read_bytes())
    return cloud.at(path.name)


@contextmanager
def moto() -> Iterator[Cloud]:
    """A server of S3."""
    port = _free_port()
    command = [sys.executable, str(Path(__file__).with_name("s3.py")), str(port)]
    with _server(command, port, {}) as endpoint:
        for name in _BUCKETS:
            _request("PUT", f"{endpoint}/{name}", {})
        yield Cloud("s3", endpoint, f"s3://{BUCKET}")


@contextmanager
def azurite() -> Iterator[Cloud]:
    """A server of Azure's blobs; skips where it cannot be had."""
    node = shutil.which("node")
    if node is None or not _AZURITE.exists():
        pytest.skip("Azurite is not installed (`make env` does where there is npm)")
    port = _free_port()
    command = [node, str(_AZURITE), "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    command += ["--inMemoryPersistence", "--silent", "--skipApiVersionCheck"]
    settings = {"AZURITE_ACCOUNTS": f"{_ACCOUNT}:{AZURE_KEY}"}
    with _server(command, port, settings) as endpoint:
        for name in _BUCKETS:
            _make_container(endpoint, name)
        yield Cloud("az", endpoint, f"az://{BUCKET}")


@contextmanager
def fake_gcs() -> Iterator[Cloud]:
    """A server of Google's XML API."""
    port = _free_port()
    program = Path(__file__).with_name("fake_gcs.py")
    with _server([sys.executable, str(program), str(port)], port, {}) as endpoint:
        yield Cloud("gs", endpoint, f"gs://{BUCKET}")


@contextmanager
def _server(command: Sequence[str], port: int, settings: dict[str, str]) -> Iterator[str]:
    """The address of a server, while the block runs."""
    process = subprocess.Popen(
        command, env=os.environ | settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + _PATIENCE
        while not _listens(port):
            assert process.poll() is None, f"{command} ended with {process.returncode}"
            assert time.monotonic() < until, f"{command} does not listen"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _request(method: str, url: str, headers: dict[str, str]) -> None:
    request = urllib.request.Request(url, b"", headers, method=method)  # noqa: S310 - loopback
    try:
        urllib.request.urlopen(request, timeout=_PATIENCE).close()  # noqa: S310 - loopback
    except (HTTPError, URLError) as error:
        error.add_note(f"{method} {url}")
        raise


def _make_container(endpoint: str, name: str) -> None:
    # https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-12-02"}
    signed = "\n".join(f"{key}:{value}" for key, value in headers.items())
    resource = f"/{_ACCOUNT}/{_ACCOUNT}/{name}\nrestype:container"
    content = "application/octet-stream"
    text = f"PUT\n\n\n\n\n{content}\n\n\n\n\n\n\n{signed}\n{resource}"
    digest = hmac.digest(base64.b64decode(AZURE_KEY), text.encode(), hashlib.sha256)
    signature = base64.b64encode(digest).decode()
    headers |= {"Authorization": f"SharedKey {_ACCOUNT}:{signature}", "Content-Type": content}
    _request("PUT", f"{endpoint}/{_ACCOUNT}/{name}?restype=container", headers)
