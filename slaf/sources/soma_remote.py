"""TileDB's own settings for reaching a bucket, made of the options that all else takes."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from slaf.storage.remote_path import RemotePath

__all__ = ["context", "tiledb_uri"]

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
    """The address of an experiment as TileDB has it."""
    parts = urlsplit(str(path))
    # abfss://container@account.dfs.core.windows.net
    container = parts.netloc.partition("@")[0]
    return f"{_SCHEMES.get(parts.scheme, parts.scheme)}://{container}{parts.path}"


def context(path: RemotePath) -> dict[str, str]:
    """What TileDB is to be told; what is not among it, it takes from the environment."""
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
