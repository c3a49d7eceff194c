"""A fresh place in a bucket for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cloud.proxy import Proxy, proxied

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cloud.servers import Cloud


@pytest.fixture(params=["s3", "az", "gs"])
def cloud(request: pytest.FixtureRequest) -> Cloud:
    """A place in a bucket of each cloud where there is nothing."""
    server: Cloud = request.getfixturevalue(f"{request.param}_server")
    return server.fresh()


_SLOW = pytest.mark.slow


@pytest.fixture(params=["s3", pytest.param("az", marks=_SLOW), pytest.param("gs", marks=_SLOW)])
def one_cloud(request: pytest.FixtureRequest) -> Cloud:
    """A place as `cloud` is, for what takes long: on S3, and where there is time, on all."""
    server: Cloud = request.getfixturevalue(f"{request.param}_server")
    return server.fresh()


@pytest.fixture
def s3(s3_server: Cloud) -> Cloud:
    """A place in a bucket of S3 where there is nothing."""
    return s3_server.fresh()


@pytest.fixture
def proxy(cloud: Cloud) -> Iterator[Proxy]:
    """What stands before the server of `cloud`."""
    with proxied(cloud.endpoint) as found:
        yield found


@pytest.fixture
def one_proxy(one_cloud: Cloud) -> Iterator[Proxy]:
    """What stands before the server of `one_cloud`."""
    with proxied(one_cloud.endpoint) as found:
        yield found
