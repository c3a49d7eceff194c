"""slaf.copy: copy a dataset between disks and buckets, each file checked by its digest."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import xxhash
from msgspec import structs

from slaf.dataset.dataset import Dataset, open_dataset
from slaf.errors import DamagedDataset, OutputExists, StorageError, UnfinishedRun
from slaf.format.config import Manifest, load, load_published, save
from slaf.format.epoch import locked
from slaf.format.files import StoredFile, etag_scope
from slaf.runs.checksums import with_uns_json_checksum
from slaf.runs.commit import COPY_JOURNAL, UNS_JSON, clean_up, remove_other_files
from slaf.runs.output_run import check_name
from slaf.runtime.progress import NullProgress
from slaf.storage.location import Location
from slaf.storage.overlap import check_apart
from slaf.storage.space import check_free
from slaf.tables.read import files_of
from slaf.verification.files import damaged_files

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from slaf.format.config import DatasetConfig
    from slaf.runtime.progress import Progress

__all__ = ["copy"]

logger = logging.getLogger("slaf")

# Files that are in memory at a time: so many, of so many bytes, or one that is larger.
_MOST_FILES, _MOST_BYTES = 16, 256 << 20


def copy(
    dataset: str | os.PathLike[str] | Location | Dataset,
    output: str | os.PathLike[str] | Location,
    *,
    overwrite: bool = False,
    storage_options: Mapping[str, str] | None = None,
    input_storage_options: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Copy a dataset: from a disk to a bucket, back, or within either.

    Each file is compared with its digest, or its tag, when it is read; and with its size, on a disk
    also with its digest, when it is there. A file without any in config.json, as of the datasets of
    earlier releases, is copied as it is. Until all files are there, there is no dataset at the
    output, or the one that it replaces. The same call finishes a copy that was stopped. Versions
    that `slaf.history` lists before the one that is copied are not.

    Parameters
    ----------
    dataset
        A published dataset, or the URL of one in a bucket; opened at an earlier version, this one.
    output
        Its new path or URL.
    overwrite
        Replace a dataset at the output, unless it is this copy already, and whole.
    storage_options
        Credentials and settings of the buckets.
    input_storage_options
        Those of the bucket of `dataset`, where it is reached in another way.
    progress
        Receives the progress, bytes as cells: an object with the methods of
        `slaf.runtime.progress.Progress`.

    Returns
    -------
    Dataset
        The copy, open.

    Raises
    ------
    OutputExists
        If there is something at the output that is not to be replaced.
    DatasetError
        If there is no dataset, or a file of it is damaged.
    ConflictError
        If another process writes to the output, or an unfinished run is there.
    StorageError
        If reading or writing fails; the copy can be resumed.

    Examples
    --------
    >>> import anndata, numpy, slaf, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ds = slaf.convert(anndata.AnnData(numpy.eye(3, 2)), f"{folder}/out.slaf")
    ...     slaf.copy(ds, f"{folder}/copy.slaf").shape
    (3, 2)
    """
    given = dataset.location if isinstance(dataset, Dataset) else dataset
    source = Location.of(given, input_storage_options or storage_options)
    location = Location.of(output, storage_options)
    published = dataset.published if isinstance(dataset, Dataset) else load_published(source)
    check_apart(location, [str(source)])
    _check_output(location, published, overwrite=overwrite)
    with locked(location):
        _check_output(location, published, overwrite=overwrite)
        made = _Copy(source, published, location)
        if not made.is_published:
            made.begin()
            made.write(progress or NullProgress())
            made.publish()
        made.finish()
    return open_dataset(location)


def _check_output(location: Location, published: DatasetConfig, *, overwrite: bool) -> None:
    """Refuse an output with something that is not to be replaced, but for a copy that was stopped.

    Raises
    ------
    OutputExists
        If there is a dataset, or something else.
    UnfinishedRun
        If there is an unfinished run of another command.
    """
    manifest, journal = load(location), _journal_at(location)
    if manifest is None:
        check_name(location)
        if not journal and not location.is_empty():
            msg = f"{location}: something else is there; name an output that does not exist yet"
            raise OutputExists(msg)
        return
    if manifest.checkpoint is not None:
        msg = (
            f"{location}: an unfinished run is there; finish it with the command that began it, or "
            "name another output"
        )
        raise UnfinishedRun(msg)
    found = None if manifest.published is None else _identity(manifest.published)
    is_copied = found == journal.get("copied") == _identity(published)
    if not overwrite and not is_copied:
        msg = (
            f"{location}: a finished dataset is there; name another output, or replace it with "
            "--overwrite"
        )
        raise OutputExists(msg)


@dataclass(frozen=True)
class _Copy:
    """A copy in progress.

    Attributes
    ----------
    source, published
        The dataset.
    location
        The output.
    """

    source: Location
    published: DatasetConfig
    location: Location

    @cached_property
    def _replaced(self) -> DatasetConfig | None:
        """The dataset at the output."""
        manifest = load(self.location)
        return None if manifest is None else manifest.published

    @cached_property
    def _mark(self) -> str:
        """A digest of the dataset that is copied, and of the one that it replaces."""
        configs = [self.published, *([] if self._replaced is None else [self._replaced])]
        text = json.dumps([config.to_json() for config in configs], sort_keys=True)
        return str(xxhash.xxh3_128_hexdigest(text.encode()))

    @cached_property
    def _journal(self) -> dict[str, str]:
        return _journal_at(self.location)

    @property
    def is_published(self) -> bool:
        """Whether readers see the copy, whole, and only what it replaced is left to be removed."""
        replaced, identity = self._replaced, _identity(self.published)
        if replaced is None or _identity(replaced) != identity:
            return False
        return self._journal.get("copied") == identity or not any(
            damaged_files(self.location, replaced)
        )

    @cached_property
    def _tables(self) -> dict[str, str]:
        """The directory of each table in the copy: a new one next to those of another dataset."""
        if self._replaced is None:
            return dict(self.published.tables)
        return {name: f"{name}-{self._mark[:8]}.lance" for name in self.published.tables}

    @cached_property
    def _names(self) -> dict[str, str]:
        """The name of each file of the published version, by its name in the copy."""
        names = {
            f"{self._tables[table]}/{file}": f"{directory}/{file}"
            for table, directory in self.published.tables.items()
            for file in files_of(self.source, directory, self.published.versions[table])
        }
        return names | {record.file: record.file for record in self.published.annotations.files}

    def begin(self) -> None:
        """Record what is copied; the files of another copy that was stopped are removed."""
        if self._journal.get("mark") == self._mark:
            logger.info("resuming: files that are there stay")
            return
        self._remove_others(self._replaced)
        journal = {"mark": self._mark, "copied": _identity(self.published)}
        self.location.put(COPY_JOURNAL, json.dumps(journal).encode())

    def write(self, progress: Progress) -> None:
        """Copy the files that are not there.

        Raises
        ------
        DamagedDataset
            If a file of the dataset is damaged.
        StorageError
            If a file is not there as it was written.
        """
        sizes, existing = self.source.sizes(), self.location.sizes()
        for name, of_source in self._names.items():
            if of_source not in sizes:
                raise self._damaged(of_source, "is missing")
            if existing.get(name) != sizes[of_source] or not self._is_whole(name):
                existing.pop(name, None)
        missing = {n: sizes[of] for n, of in self._names.items() if n not in existing}
        n_bytes = sum(missing.values())
        check_free(self.location, n_bytes, 0, f"the copy takes {n_bytes:,}", "another output")
        advance = self._advance(progress, sum(sizes[of] for of in self._names.values()))
        advance(sum(existing[name] for name in self._names if name in existing))
        is_remote = self.source.is_remote or self.location.is_remote
        with ThreadPoolExecutor(_MOST_FILES if is_remote else 1, "slaf-copy") as threads:
            for names in _groups(missing):
                for n_bytes in threads.map(self._copy, names):
                    advance(n_bytes)

    def _is_whole(self, name: str) -> bool:
        """True if a file of the right size is whole; one of the replaced dataset too is read."""
        replaced = () if self._replaced is None else self._replaced.annotations.files
        if name not in {record.file for record in replaced}:
            return True
        content = self._read(self._names[name])
        return self.location.digest(name) == str(xxhash.xxh3_128_hexdigest(content))

    def _copy(self, name: str) -> int:
        content = self._read(self._names[name])
        self.location.put(name, content)
        return len(content)

    def _advance(self, progress: Progress, total: int) -> Callable[[int], None]:
        """Advance the progress by bytes, as the share of all cells that they are."""
        n_cells, done = self.published.n_cells, 0
        progress.begin(0, 0, n_cells)

        def advance(n_bytes: int) -> None:
            nonlocal done
            before, done = done, done + n_bytes
            share = n_cells * done // max(total, 1) - n_cells * before // max(total, 1)
            progress.advance(share, 0)

        return advance

    def _read(self, name: str) -> bytes:
        """The content of a file of the dataset, as it was written."""
        content, recorded = self.source.read(name), self._recorded.get(name)
        if content is None:
            raise self._damaged(name, "is missing")
        if recorded is not None:
            is_same = len(content) == recorded.bytes
            if recorded.digest:
                is_same &= xxhash.xxh3_128_hexdigest(content) == recorded.digest
            elif self._has_tags:
                is_same &= self._tags.get(name) == recorded.etag
            if not is_same:
                raise self._damaged(name, "is not what was written")
        return content

    def _damaged(self, name: str, what: str) -> DamagedDataset:
        return DamagedDataset(
            f"{self.source.uri(name)} {what}; if another process has changed the dataset, copy it "
            "again, and otherwise `slaf repair` makes the file again"
        )

    @cached_property
    def _recorded(self) -> dict[str, StoredFile]:
        return {stored.file: stored for stored in self.published.checksums.files}

    @property
    def _has_tags(self) -> bool:
        return self.source.is_remote and (
            self.published.checksums.etag_scope == etag_scope(self.source)
        )

    @cached_property
    def _tags(self) -> Mapping[str, str]:
        return self.source.etags()

    def publish(self) -> None:
        """Make the copy the dataset that readers see."""
        config = structs.replace(self.published, tables=self._tables)
        if self.published.checksums.files:
            checksums = structs.replace(
                self.published.checksums,
                files=tuple(self._stored_files()),
                etag_scope=etag_scope(self.location),
            )
            config = structs.replace(config, checksums=checksums)
        manifest = load(self.location)
        save(self.location, Manifest(config, epoch=0 if manifest is None else manifest.epoch))

    def _stored_files(self) -> Iterator[StoredFile]:
        """The files of the copy with their checksums; what was not recorded, is not.

        Raises
        ------
        StorageError
            If one differs from that of the dataset.
        """
        tags, sizes = self.location.etags(), self.location.sizes()
        for name, of_source in self._names.items():
            recorded = self._recorded.get(of_source)
            if recorded is None:
                continue
            digest = recorded.digest
            if not self.location.is_remote:
                digest = self.location.digest(name) or ""
            if sizes.get(name) != recorded.bytes or digest != (recorded.digest or digest):
                msg = f"{self.location.uri(name)} is not what was written; copy the dataset again"
                raise StorageError(msg)
            yield structs.replace(recorded, file=name, digest=digest, etag=tags.get(name, ""))

    def finish(self) -> None:
        """Remove what the copy replaced, write uns.json, and forget that there was a copy."""
        published = load_published(self.location)
        self._remove_others(published)
        clean_up(self.location, published)
        with_uns = with_uns_json_checksum(self.location, published, UNS_JSON)
        manifest = load(self.location)
        if manifest is not None and with_uns != published:
            save(self.location, Manifest(with_uns, epoch=manifest.epoch))
        self.location.remove(COPY_JOURNAL)

    def _remove_others(self, published: DatasetConfig | None) -> None:
        """Remove the tables and files that a dataset does not have."""
        kept: set[str] = set()
        if published is not None:
            kept = {*published.tables.values()}
            kept |= {record.file for record in published.annotations.files}
        remove_other_files(self.location, kept)


def _journal_at(location: Location) -> dict[str, str]:
    """The mark of the unfinished copy at a location, and what it copies; empty without one."""
    raw = location.read(COPY_JOURNAL)
    try:
        found = json.loads(raw or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _identity(config: DatasetConfig) -> str:
    """The digest of what a dataset holds, wherever its tables and files are."""
    data = config.to_json() | {"tables": sorted(config.tables), "proof": config.checksums.tables}
    return str(xxhash.xxh3_128_hexdigest(json.dumps(data, sort_keys=True).encode()))


def _groups(sizes: Mapping[str, int]) -> Iterator[Sequence[str]]:
    """Files that are in memory at once, the largest first."""
    group: list[str] = []
    n_bytes = 0
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        if group and (len(group) == _MOST_FILES or n_bytes + sizes[name] > _MOST_BYTES):
            yield group
            group, n_bytes = [], 0
        group.append(name)
        n_bytes += sizes[name]
    if group:
        yield group
