"""Settings of TileDB: memory, threads and credentials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from slaf.runtime.resources import cpu_count

if TYPE_CHECKING:
    import tiledbsoma

    from slaf.storage.remote_path import RemotePath

__all__ = ["AMPLE", "LITTLE", "Memory", "context_of", "tiledb_uri"]

_MAX_THREADS: Final = 8


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory that a read may take.

    Attributes
    ----------
    buffer
        Bytes of each column; TileDB allocates them for any number of rows.
    tiles
        Bytes for decoded tiles; a read takes a fraction of them, and fails if that does not hold a
        tile of each fragment.
    """

    buffer: int
    tiles: int


LITTLE: Final = Memory(1 << 20, 64 << 20)
AMPLE: Final = Memory(8 << 20, 1 << 30)


def context_of(path: RemotePath | None, memory: Memory) -> tiledbsoma.SOMATileDBContext:
    """A context for one experiment.

    Parameters
    ----------
    path
        Its path, if it is remote.
    memory
        The memory of each read.
    """
    import tiledbsoma

    threads = str(min(cpu_count(), _MAX_THREADS))
    config: dict[str, str | float] = {
        # TileDB sorts tiles in tasks that may outlive the query whose memory they use: then it
        # crashes, or aborts over memory that was not freed.
        # https://github.com/TileDB-Inc/TileDB/pull/5723
        "sm.query.sparse_global_order.preprocess_tile_merge": "0",
        "soma.init_buffer_bytes": str(memory.buffer),
        "sm.mem.total_budget": str(memory.tiles),
        "sm.compute_concurrency_level": threads,
        "sm.io_concurrency_level": threads,
        # Python handles Ctrl-C; TileDB would cancel its query and report an error.
        "sm.enable_signal_handlers": "false",
    }
    if path is not None:
        config.update(_remote_config(path))
    return tiledbsoma.SOMATileDBContext(tiledb_config=config)


# https://docs.tiledb.com/main/how-to/configuration
_KEYS = {
    "access_key_id": "vfs.s3.aws_access_key_id",
    "secret_access_key": "vfs.s3.aws_secret_access_key",
    "session_token": "vfs.s3.aws_session_token",
    "token": "vfs.s3.aws_session_token",
    "region": "vfs.s3.region",
    "skip_signature": "vfs.s3.no_sign_request",
    "storage_account_name": "vfs.azure.storage_account_name",
    "account_name": "vfs.azure.storage_account_name",
    "storage_account_key": "vfs.azure.storage_account_key",
    "account_key": "vfs.azure.storage_account_key",
    "storage_sas_key": "vfs.azure.storage_account_token",
    "sas_key": "vfs.azure.storage_account_token",
    "service_account_key": "vfs.gcs.service_account_key",
}
_SCHEMES = {"az": "azure", "abfs": "azure", "abfss": "azure", "gs": "gcs"}


def tiledb_uri(path: RemotePath) -> str:
    """The URI of an experiment for TileDB."""
    parts = urlsplit(str(path))
    # abfss://container@account.dfs.core.windows.net
    container = parts.netloc.partition("@")[0]
    return f"{_SCHEMES.get(parts.scheme, parts.scheme)}://{container}{parts.path}"


def _remote_config(path: RemotePath) -> dict[str, str]:
    """The credentials of a path; TileDB takes missing ones from the environment."""
    options = {
        key.removeprefix("aws_").removeprefix("azure_").removeprefix("google_"): value
        for key, value in path.storage_options.items()
    }
    config = {_KEYS[key]: value for key, value in options.items() if key in _KEYS}
    endpoint = options.get("endpoint") or options.get("endpoint_url")
    if endpoint and path.scheme == "s3":
        address = urlsplit(endpoint)
        config["vfs.s3.scheme"] = address.scheme
        config["vfs.s3.endpoint_override"] = address.netloc
        config["vfs.s3.use_virtual_addressing"] = "false"
    elif endpoint:
        config["vfs.azure.blob_endpoint"] = endpoint
    return config
