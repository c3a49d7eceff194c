"""Credentials come from the options, the environment or a profile, for input and output alike."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

import slaf
from slaf.errors import MissingPackage
from slaf.storage.location import Location
from slaf.storage.urls import redacted
from tests.builders import counts, write_h5ad
from tests.cloud.servers import S3_KEY, S3_SECRET, upload

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cloud.servers import Cloud


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials of whoever runs the tests."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))


def test_from_the_environment(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a single option, the variables that each cloud's own tools know are enough."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(12, 6))
    url = upload(cloud, source)
    for name, value in cloud.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    slaf.convert(url, cloud.at("out.slaf"))
    slaf.verify(cloud.at("out.slaf"), source)


def test_from_a_profile(s3: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile of AWS is enough where there is boto3, and where there is not, that is said."""
    keys = f"aws_access_key_id={S3_KEY}\naws_secret_access_key={S3_SECRET}\n"
    (tmp_path / "credentials").write_text(f"[lab]\n{keys}")
    (tmp_path / "config").write_text("[profile lab]\nregion=us-east-1\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    reach = {"aws_endpoint": s3.endpoint, "allow_http": "true"}
    source = write_h5ad(tmp_path / "in.h5ad", counts(12, 6))
    slaf.convert(source, s3.at("out.slaf"), storage_options=reach)
    slaf.verify(s3.at("out.slaf"), source, storage_options=reach)
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(MissingPackage, match=r"pip install 'slaf\[s3\]'"):
        Location(s3.at("out.slaf"), reach)


def test_other_options_for_the_input(s3: Cloud, az_server: Cloud, tmp_path: Path) -> None:
    """Input and output may be of two clouds."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(12, 6))
    output = az_server.fresh()
    dataset = slaf.convert(
        upload(s3, source),
        output.at("out.slaf"),
        storage_options=output.options,
        input_storage_options=s3.options,
    )
    slaf.verify(dataset, source)


def test_the_long_name_of_azure(az_server: Cloud, tmp_path: Path) -> None:
    """abfss:// names the account as well, and is shown as it was given."""
    cloud = az_server.fresh()
    host = "abfss://slaf-test@devstoreaccount1.dfs.core.windows.net/"
    url = cloud.at("out.slaf").replace("az://slaf-test/", host)
    source = write_h5ad(tmp_path / "in.h5ad", counts(12, 6))
    dataset = slaf.convert(source, url, storage_options=cloud.options)
    assert str(dataset.location) == url
    slaf.verify(cloud.at("out.slaf"), source, storage_options=cloud.options)


def test_odd_names(cloud: Cloud, tmp_path: Path) -> None:
    """A name may have blanks, ampersands and letters of any alphabet."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(12, 6))
    place = cloud.at("größe & more/x y.slaf")
    slaf.verify(slaf.convert(source, place, storage_options=cloud.options), source)


def test_what_is_shown() -> None:
    """Of a URL neither the password nor the query is shown; a path is, as it is."""
    assert redacted("https://me:pass@host/a.h5ad?sig=x#y") == "https://host/a.h5ad"
    assert redacted("s3://bucket/a?versionId=3") == "s3://bucket/a"
    assert redacted("what? a#file") == "what? a#file"
