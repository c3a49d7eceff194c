"""Commit repaired parts, tables and files: the tables first, config.json last."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import structs

from slaf.errors import DamagedDataset
from slaf.format.schema import partitioned_tables
from slaf.runs.checksums import with_checksums
from slaf.runs.commit import TableFragments, TableGrowth, TableRows, commit_tables
from slaf.tables.commit import drop_newer_versions
from slaf.tables.fragments import Fragment
from slaf.tables.read import fragments_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from slaf.format.config import DatasetConfig
    from slaf.format.files import StoredFile
    from slaf.repairs.damage import Damage
    from slaf.runs.commit import TableChange
    from slaf.runs.output_run import OutputRun

__all__ = ["RepairedDataset", "TableFiles", "discard", "table_files"]


@dataclass(frozen=True, slots=True)
class TableFiles:
    """The fragments of a repaired table that is written in parts.

    Attributes
    ----------
    fragments
        In order.
    paths
        The current paths of their files.
    copies
        The intact files to copy into the new directory of the table: the record of each copy, by
        the current path.
    """

    fragments: Sequence[Fragment]
    paths: Sequence[str]
    copies: Mapping[str, StoredFile] = field(default_factory=dict)


def table_files(run: OutputRun, published: DatasetConfig, damage: Damage) -> dict[str, TableFiles]:
    """The files of each table that is written in parts, as far as the parts are done.

    Raises
    ------
    DamagedDataset
        If config.json does not list all of them, and the version of a table is damaged.
    """
    return {
        table: _table_files(run, published, damage, table)
        for table in (spec.name for spec in partitioned_tables(published.tables))
    }


def discard(run: OutputRun, published: DatasetConfig, damage: Damage) -> None:
    """Discard a repair: remove the files that it has written."""
    location = run.location
    for table, directory in run.plan.tables.items():
        if directory != published.tables[table]:
            location.remove(directory)
        elif table in damage.tables:
            drop_newer_versions(location, directory, published.versions[table])
            fragments = fragments_of(location, directory, published.versions[table])
            published_files = {f"{directory}/{path}" for part in fragments for path in part.paths}
            for file in location.list(f"{directory}/data"):
                if file not in published_files:
                    location.remove(file)
    run.forget()


@dataclass(frozen=True, slots=True)
class RepairedDataset:
    """A repaired dataset that is not published yet; all of it has its recorded digests.

    Attributes
    ----------
    run
        The run of the repair, all parts done.
    published
        The damaged dataset.
    damage
        Its damage.
    data
        The files of the tables that are written in parts.
    tables
        The rows of the damaged tables that are written whole.
    files
        The content of the damaged files of elements.
    """

    run: OutputRun
    published: DatasetConfig
    damage: Damage
    data: Mapping[str, TableFiles]
    tables: Mapping[str, pa.Table]
    files: Mapping[str, bytes]

    def commit(self) -> DatasetConfig:
        """Write the tables and files; the record to publish. May be stopped and done again."""
        run, published = self.run, self.published
        for name, content in self.files.items():
            run.location.put(name, content)
        copied = [file for name in self.damage.unreadable for file in self._copied(name)]
        changes = {name: self._change(name) for name in published.tables}
        dataset = structs.replace(
            published,
            tables={name: change.directory for name, change in changes.items()},
            versions=commit_tables(run.location, run.plan, changes),
            last_updated=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        damaged = {file.file.file for file in self.damage.files}
        written = [*run.files(), *copied]
        return with_checksums(
            run.location, dataset, written, published.checksums, base=published, damaged=damaged
        )

    def _change(self, name: str) -> TableChange:
        directory = self.run.plan.tables[name]
        if name not in self.damage.tables:
            return TableGrowth(directory, self.published.versions[name])
        if name not in self.data:
            return TableRows(directory, self.tables[name])
        return TableFragments(directory, self.run.plan.schema(name), self.data[name].fragments)

    def _copied(self, name: str) -> Iterator[StoredFile]:
        """Copy the intact files of a table into its new directory."""
        copies = self.data[name].copies if name in self.data else {}
        for path, file in copies.items():
            self.run.location.copy(path, file.file)
            # The etag of a copy may be another.
            stat = self.run.location.stat(file.file) if self.run.location.is_remote else None
            yield file if stat is None else structs.replace(file, etag=stat.etag)


def _table_files(
    run: OutputRun, published: DatasetConfig, damage: Damage, table: str
) -> TableFiles:
    directory, target = published.tables[table], run.plan.tables[table]
    recorded = {stored.file: stored for stored in published.checksums.of(directory)}
    if table in damage.unreadable:
        previous = _recorded_fragments(run, published, table)
    else:
        previous = fragments_of(run.location, directory, published.versions[table])
    rewritten = _rewritten_fragments(run, damage, table)
    fragments: list[Fragment] = []
    paths: list[str] = []
    copies = {}
    for fragment in previous:
        path = f"{directory}/{fragment.paths[0]}"
        file = recorded.get(path)
        rows = None if file is None else file.cells or file.genes
        if rows in rewritten:
            # The new fragments replace the first of several files with these rows.
            fragments += rewritten[rows]
            paths += [f"{target}/{name}" for part in rewritten[rows] for name in part.paths]
            rewritten[rows] = ()
            continue
        fragments.append(fragment)
        paths.append(path)
        if file is not None and target != directory:
            copies[path] = structs.replace(file, file=f"{target}/{fragment.paths[0]}")
    return TableFiles(fragments, paths, copies)


def _rewritten_fragments(
    run: OutputRun, damage: Damage, table: str
) -> dict[tuple[int, int] | None, Sequence[Fragment]]:
    """The rewritten fragments of a table, by the cells or genes of their rows."""
    return {
        (part.rows.start, part.rows.stop): part.tables[table].fragments
        for part in run.parts_of(table)
        if part.rows in damage.rows_of(table)
    }


def _recorded_fragments(run: OutputRun, published: DatasetConfig, table: str) -> list[Fragment]:
    """The fragments of a table whose version is damaged, from the files in config.json."""
    files = sorted(
        (file for file in published.checksums.of(published.tables[table]) if file.rows is not None),
        key=lambda file: file.cells or file.genes or (0, 0),
    )
    if sum(file.rows or 0 for file in files) != published.record(table).rows:
        msg = (
            f"{run.location}: the version of {table} is damaged, and some of its files have no "
            "checksum; restore it from a copy, or convert again"
        )
        raise DamagedDataset(msg)
    return [Fragment.of_file(file, len(run.plan.schema(table))) for file in files]
