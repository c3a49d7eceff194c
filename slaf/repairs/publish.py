"""From parts that are proven to a repaired dataset: tables first, config.json last."""

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
    """The fragments that a table which is written in parts will have.

    Attributes
    ----------
    fragments
        In order.
    paths
        Where their files are before the commit.
    copies
        The files that are whole but not in the directory that the table will have: the file
        as it is there, by where it is.
    """

    fragments: Sequence[Fragment]
    paths: Sequence[str]
    copies: Mapping[str, StoredFile] = field(default_factory=dict)


def table_files(run: OutputRun, published: DatasetConfig, survey: Damage) -> dict[str, TableFiles]:
    """The files of every table that is written in parts, once all parts are done.

    Raises
    ------
    DamagedDataset
        If it cannot be told any more which they were.
    """
    return {
        table: _table_files(run, published, survey, table)
        for table in (spec.name for spec in partitioned_tables(published.tables))
    }


def discard(run: OutputRun, published: DatasetConfig, survey: Damage) -> None:
    """Give a repair up: remove what it has written, and leave the dataset as it was."""
    location = run.location
    for table, directory in run.plan.tables.items():
        if directory != published.tables[table]:
            location.remove(directory)
        elif table in survey.tables:
            drop_newer_versions(location, directory, published.versions[table])
            fragments = fragments_of(location, directory, published.versions[table])
            named = {f"{directory}/{path}" for one in fragments for path in one.paths}
            for file in location.list(f"{directory}/data"):
                if file not in named:
                    location.remove(file)
    run.forget()


@dataclass(frozen=True, slots=True)
class RepairedDataset:
    """What a damaged dataset will be, all of it proven.

    Attributes
    ----------
    run
        The repair, whose parts are all done.
    published
        The dataset as it is.
    survey
        The damage of it.
    data
        The files of the tables that are written in parts.
    tables
        The damaged ones of those that are written whole.
    files
        The damaged files of elements, with their content.
    """

    run: OutputRun
    published: DatasetConfig
    survey: Damage
    data: Mapping[str, TableFiles]
    tables: Mapping[str, pa.Table]
    files: Mapping[str, bytes]

    def commit(self) -> DatasetConfig:
        """Write the tables and files; what is to be published. May be stopped and done again."""
        run, published = self.run, self.published
        for name, content in self.files.items():
            run.location.put(name, content)
        copied = [file for name in self.survey.unopened for file in self._copied(name)]
        changes = {name: self._change(name) for name in published.tables}
        dataset = structs.replace(
            published,
            tables={name: change.directory for name, change in changes.items()},
            versions=commit_tables(run.location, run.plan, changes),
            last_updated=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        damaged = {one.file.file for one in self.survey.files}
        written = [*run.files(), *copied]
        return with_checksums(
            run.location, dataset, written, published.proof, base=published, damaged=damaged
        )

    def _change(self, name: str) -> TableChange:
        directory = self.run.plan.tables[name]
        if name not in self.survey.tables:
            return TableGrowth(directory, self.published.versions[name])
        if name not in self.data:
            return TableRows(directory, self.tables[name])
        return TableFragments(directory, self.run.plan.schema(name), self.data[name].fragments)

    def _copied(self, name: str) -> Iterator[StoredFile]:
        """Bring the files of a table that are whole into its new directory."""
        copies = self.data[name].copies if name in self.data else {}
        for path, file in copies.items():
            self.run.location.copy(path, file.file)
            # A bucket may give what is copied another tag.
            stat = self.run.location.stat(file.file) if self.run.location.is_remote else None
            yield file if stat is None else structs.replace(file, etag=stat.etag)


def _table_files(
    run: OutputRun, published: DatasetConfig, survey: Damage, table: str
) -> TableFiles:
    directory, target = published.tables[table], run.plan.tables[table]
    recorded = {one.file: one for one in published.proof.of(directory)}
    if table in survey.unopened:
        before = _recorded(run, published, table)
    else:
        before = fragments_of(run.location, directory, published.versions[table])
    made = _rewritten(run, survey, table)
    fragments: list[Fragment] = []
    paths: list[str] = []
    copies = {}
    for fragment in before:
        path = f"{directory}/{fragment.paths[0]}"
        file = recorded.get(path)
        rows = None if file is None else file.cells or file.genes
        if rows in made:
            # Of several files with these rows the first one's place is taken.
            fragments += made[rows]
            paths += [f"{target}/{one}" for part in made[rows] for one in part.paths]
            made[rows] = ()
            continue
        fragments.append(fragment)
        paths.append(path)
        if file is not None and target != directory:
            copies[path] = structs.replace(file, file=f"{target}/{fragment.paths[0]}")
    return TableFiles(fragments, paths, copies)


def _rewritten(
    run: OutputRun, survey: Damage, table: str
) -> dict[tuple[int, int] | None, Sequence[Fragment]]:
    """The fragments of a table that were written again, by the cells or genes of their rows."""
    return {
        (part.rows.start, part.rows.stop): part.tables[table].fragments
        for part in run.parts_of(table)
        if part.rows in survey.rows_of(table)
    }


def _recorded(run: OutputRun, published: DatasetConfig, table: str) -> list[Fragment]:
    """The fragments of a table whose version is damaged, by what config.json says of its files."""
    files = [one for one in published.proof.of(published.tables[table]) if "/data/" in one.file]
    files = [one for one in files if one.cells or one.genes]
    files.sort(key=lambda one: one.cells or one.genes or (0, 0))
    if sum(one.rows or 0 for one in files) != published.record(table).rows:
        msg = (
            f"{run.location}: the version of {table} is damaged, and of some of its files nothing "
            "was noted when they were written; restore it from a copy, or convert again"
        )
        raise DamagedDataset(msg)
    return [Fragment.of_file(one, len(run.plan.schema(table))) for one in files]
