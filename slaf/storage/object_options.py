"""Credentials, retries and timeouts of object storage, as options of obstore and of Lance."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from obstore.exceptions import BaseError
from obstore.store import HTTPStore, from_url

from slaf.errors import StorageError
from slaf.runtime.extras import require
from slaf.storage.errors import short_reason
from slaf.storage.urls import WEB, redacted, scheme_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from obstore.store import ObjectStore

__all__ = ["lance_options", "open_store"]


# Retries span the restart of a server, and report a lost network within minutes. One request may
# take two minutes: five megabytes over a slow line. Lance's own defaults are three attempts of half
# a minute.
_DEFAULTS: Final = {
    "client_max_retries": "10",
    "client_retry_timeout": "180",
    "timeout": "120s",
    "connect_timeout": "10s",
}
_RETRIES, _RETRY_SECONDS = "client_max_retries", "client_retry_timeout"

# Options that obstore does not know.
_LANCE_ONLY = frozenset({"download_retry_count"})

# https://docs.rs/object_store/latest/object_store/enum.ClientConfigKey.html
_CLIENT_OPTIONS = frozenset(
    {
        *("allow_http", "allow_invalid_certificates", "connect_timeout", "default_content_type"),
        *("http1_only", "http2_only", "pool_idle_timeout", "pool_max_idle_per_host"),
        *("proxy_ca_certificate", "proxy_excludes", "proxy_url", "timeout", "user_agent"),
    }
)
_PREFIXES = ("aws_", "azure_", "google_")
_CLOUDS = {"s3": "aws_", "gs": "google_", "az": "azure_", "abfs": "azure_", "abfss": "azure_"}


def lance_options(url: str, options: Mapping[str, str]) -> dict[str, str]:
    """Storage options for Lance, with default retries and timeouts."""
    # Lance reads Azure's variables of the environment only once in a process.
    azure = _CLOUDS.get(scheme_of(url)) == "azure_"
    environment = {k.lower(): v for k, v in os.environ.items() if azure and k.startswith("AZURE_")}
    return {"download_retry_count": "5", **environment, **_with_defaults(url, options)}


def open_store(url: str, options: Mapping[str, str]) -> ObjectStore:
    """The store of obstore for a URL.

    Raises
    ------
    StorageError
        If the scheme or an option is not known.
    """
    scheme = scheme_of(url)
    config = _with_defaults(url, options)
    client: Any = {key: config.pop(key) for key in sorted(config) if key in _CLIENT_OPTIONS}
    retries: Any = {
        "max_retries": _number(config.pop(_RETRIES), _RETRIES),
        "retry_timeout": timedelta(seconds=_number(config.pop(_RETRY_SECONDS), _RETRY_SECONDS)),
    }
    config = {key: value for key, value in config.items() if key not in _LANCE_ONLY}
    if scheme in WEB and config:
        msg = f"{redacted(url)}: an address of the web takes no {', '.join(config)}; leave it out"
        raise StorageError(msg)
    others: Any = {"config": config} | (_profile(config) if scheme == "s3" else {})
    try:
        if scheme not in WEB:
            # obstore names an option that the scheme does not have.
            return from_url(url, client_options=client, retry_config=retries, **others)
        client = {"allow_http": str(scheme == "http").lower()} | client
        return HTTPStore.from_url(url, client_options=client, retry_config=retries)
    except (ValueError, BaseError) as error:
        msg = (
            f"{redacted(url)}: the storage options are not understood "
            f"({short_reason(str(error))}); check their names and values"
        )
        raise StorageError(msg) from None


def _with_defaults(url: str, options: Mapping[str, str]) -> dict[str, str]:
    """The options, over those of the environment, over the defaults.

    Only client options are taken from the environment: obstore ignores it if it is given others.
    Both libraries read credentials from the environment by themselves.
    """
    cloud = _CLOUDS.get(scheme_of(url), "")
    variables = {key: os.environ.get(f"{cloud}{key}".upper()) for key in _CLIENT_OPTIONS if cloud}
    environment = {key: value for key, value in variables.items() if value is not None}
    return _DEFAULTS | environment | _lower_case(options)


def _lower_case(options: Mapping[str, str]) -> dict[str, str]:
    """The options in lower case, client options without the prefix of a cloud."""
    lowered: dict[str, str] = {}
    for key, value in options.items():
        name = key.lower()
        bare = next((name.removeprefix(p) for p in _PREFIXES if name.startswith(p)), name)
        lowered[bare if bare in _CLIENT_OPTIONS else name] = str(value)
    return lowered


def _number(value: str, key: str) -> int:
    try:
        return int(value)
    except ValueError:
        msg = f"the storage option {key} is {value!r}; give a whole number"
        raise StorageError(msg) from None


def _profile(config: Mapping[str, str]) -> dict[str, Any]:
    """A credential provider for the profiles of AWS, if no other credentials are given.

    Lance reads profiles by itself; obstore needs boto3.
    """
    keys = {key.removeprefix("aws_") for key in config}
    has_keys = keys & {"access_key_id", "skip_signature"} or "AWS_ACCESS_KEY_ID" in os.environ
    if has_keys or not ("AWS_PROFILE" in os.environ or _has_profiles()):
        return {}
    require("boto3", "a profile of AWS")
    from obstore.auth.boto3 import Boto3CredentialProvider

    return {"credential_provider": Boto3CredentialProvider()}


def _has_profiles() -> bool:
    home = Path.home() / ".aws"
    files = {
        "AWS_SHARED_CREDENTIALS_FILE": home / "credentials",
        "AWS_CONFIG_FILE": home / "config",
    }
    return any(Path(os.environ.get(name, path)).is_file() for name, path in files.items())
