"""Access to object storage by obstore: one set of options, for it and for Lance."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from slaf.errors import StorageError
from slaf.storage.errors import short_reason
from slaf.storage.urls import WEB, redacted, scheme_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from obstore.store import ObjectStore

__all__ = ["lance_options", "open_store"]


# A request is tried so often, within so many seconds: a server that restarts is waited for, and
# a network that is gone is told of in minutes, not hours. One request may take two minutes: five
# megabytes over a slow line. Lance itself would try three times, for half a minute each.
_DEFAULTS: Final = {
    "client_max_retries": "10",
    "client_retry_timeout": "180",
    "timeout": "120s",
    "connect_timeout": "10s",
}
_RETRIES, _RETRY_SECONDS = "client_max_retries", "client_retry_timeout"

# What only Lance knows, of its reading.
_OF_LANCE = frozenset({"download_retry_count"})

# https://docs.rs/object_store/latest/object_store/enum.ClientConfigKey.html
_OF_CLIENTS = frozenset(
    {
        *("allow_http", "allow_invalid_certificates", "connect_timeout", "default_content_type"),
        *("http1_only", "http2_only", "pool_idle_timeout", "pool_max_idle_per_host"),
        *("proxy_ca_certificate", "proxy_excludes", "proxy_url", "timeout", "user_agent"),
    }
)
_PREFIXES = ("aws_", "azure_", "google_")
_CLOUDS = {"s3": "aws_", "gs": "google_", "az": "azure_", "abfs": "azure_", "abfss": "azure_"}


def lance_options(url: str, options: Mapping[str, str]) -> dict[str, str]:
    """The options as Lance takes them, with the retries and timeouts that were not chosen."""
    # Of Azure, Lance looks at the environment once and never again.
    azure = _CLOUDS.get(scheme_of(url)) == "azure_"
    around = {k.lower(): v for k, v in os.environ.items() if azure and k.startswith("AZURE_")}
    return {"download_retry_count": "5", **around, **_chosen(url, options)}


def open_store(url: str, options: Mapping[str, str]) -> ObjectStore:
    """What gives and takes the objects below a URL.

    Raises
    ------
    StorageError
        If the URL or an option is not known.
    """
    scheme = scheme_of(url)
    chosen = _chosen(url, options)
    client = {key: chosen.pop(key) for key in sorted(chosen) if key in _OF_CLIENTS}
    common: dict[str, Any] = {
        "client_options": client,
        "retry_config": {
            "max_retries": _number(chosen.pop(_RETRIES), _RETRIES),
            "retry_timeout": timedelta(seconds=_number(chosen.pop(_RETRY_SECONDS), _RETRY_SECONDS)),
        },
    }
    config = {key: value for key, value in chosen.items() if key not in _OF_LANCE}
    if scheme == "s3":
        common |= _profile(config)
    try:
        return _open(url, config, common)
    except ValueError as error:
        # Also what obstore raises for a key that it does not know, which the text names.
        msg = (
            f"{redacted(url)}: the storage options are not understood ({short_reason(str(error))})"
        )
        raise StorageError(msg) from None


def _open(url: str, config: dict[str, str], common: dict[str, Any]) -> ObjectStore:
    from obstore.exceptions import BaseError
    from obstore.store import HTTPStore, from_url

    try:
        if scheme_of(url) in WEB:
            if config:
                msg = f"an address of the web takes no {', '.join(config)}"
                raise ValueError(msg)
            allowed = {"allow_http": str(scheme_of(url) == "http").lower()}
            return HTTPStore.from_url(
                url, **common | {"client_options": allowed | common["client_options"]}
            )
        # Which options it takes depends on the scheme, and it says which it does not know.
        store: ObjectStore = from_url(url, config=config, **common)  # type: ignore[call-overload]
    except BaseError as error:
        raise ValueError(str(error)) from None
    return store


def _chosen(url: str, options: Mapping[str, str]) -> dict[str, str]:
    """What was asked for, in the options or in the environment, over what is so by default.

    Of the environment only what is for all clients: obstore forgets it where others are given.
    Keys and the like both libraries find there by themselves.
    """
    cloud = _CLOUDS.get(scheme_of(url), "")
    around = {key: os.environ.get(f"{cloud}{key}".upper()) for key in _OF_CLIENTS if cloud}
    found = {key: value for key, value in around.items() if value is not None}
    return _DEFAULTS | found | _without_case(options)


def _without_case(options: Mapping[str, str]) -> dict[str, str]:
    """The options in lower case, those of all clients without the name of one cloud before."""
    found: dict[str, str] = {}
    for key, value in options.items():
        name = key.lower()
        bare = next((name.removeprefix(p) for p in _PREFIXES if name.startswith(p)), name)
        found[bare if bare in _OF_CLIENTS else name] = str(value)
    return found


def _number(value: str, key: str) -> int:
    try:
        return int(value)
    except ValueError:
        msg = f"the storage option {key} is {value!r}, which is not a whole number"
        raise StorageError(msg) from None


def _profile(config: Mapping[str, str]) -> dict[str, Any]:
    """What fetches the credentials of a profile of AWS, where no others are given.

    Lance reads profiles by itself; obstore has boto3 do it.
    """
    keys = {key.removeprefix("aws_") for key in config}
    given = keys & {"access_key_id", "skip_signature"} or "AWS_ACCESS_KEY_ID" in os.environ
    if given or not ("AWS_PROFILE" in os.environ or _has_profiles()):
        return {}
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        msg = "the profiles of AWS are read by boto3, which is missing: pip install 'slaf[s3]'"
        raise StorageError(msg) from None
    return {"credential_provider": Boto3CredentialProvider()}


def _has_profiles() -> bool:
    home = Path.home() / ".aws"
    files = {
        "AWS_SHARED_CREDENTIALS_FILE": home / "credentials",
        "AWS_CONFIG_FILE": home / "config",
    }
    return any(Path(os.environ.get(name, path)).is_file() for name, path in files.items())
