"""From parts that are proven to a dataset that is mended: tables first, config.json last."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import structs

from slaf.errors import DamagedDataset
from slaf.format.config import Manifest, save
from slaf.format.schema import BY_GENE, EXPRESSION, LAYERS, PARTITIONED_TABLES, RAW, indexed_columns
from slaf.repairs.parts import scratch_of
from slaf.runs.checksums import add_checksums, files_without_checksum, valid_here
from slaf.runs.publish import clean_up
from slaf.tables.commit import commit, drop_newer_versions, rebuild_version
from slaf.tables.fragments import Fragment
from slaf.tables.indices import index
from slaf.tables.read import fragments_of
from slaf.tables.write import write_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from slaf.format.config import DatasetConfig
    from slaf.format.files import StoredFile
    from slaf.repairs.damage import Damage
    from slaf.runs.checkpoint import Checkpoint, GenePart, PartResult
    from slaf.runs.layers import LayerResult
    from slaf.sparse.ranges import RowRange
    from slaf.storage.location import Location

__all__ = ["RepairedDataset", "table_files"]


@dataclass(frozen=True, slots=True)
class TableFiles:
    """The files of a table that is written in parts.

    Attributes
    ----------
    before
        Its fragments as they are.
    after
        Those that it will have.
    fresh
        The files among them that are new, by where they are now.
    """

    before: Sequence[Fragment]
    after: Sequence[Fragment]
    fresh: Mapping[str, StoredFile]

    def files(self, directory: str) -> list[str]:
        """Where the files are now that it will have."""
        there = {one.file: place for place, one in self.fresh.items()}
        names = [f"{directory}/{path}" for one in self.after for path in one.paths]
        return [there.get(name, name) for name in names]


def table_files(
    location: Location, published: DatasetConfig, survey: Damage, checkpoint: Checkpoint
) -> dict[str, TableFiles]:
    """The files of every table that is written in parts, once all parts are done.

    Raises
    ------
    DamagedDataset
        If it cannot be told any more which they were.
    """
    return {
        table: _data(location, published, survey, checkpoint, table)
        for table in PARTITIONED_TABLES
        if table in published.tables
    }


@dataclass(frozen=True, slots=True)
class RepairedDataset:
    """What a damaged dataset will be, all of it proven.

    Attributes
    ----------
    location, published
        The dataset as it is.
    survey
        What of it is damaged.
    checkpoint
        The run, whose parts are all done.
    data
        The files of the tables that are written in parts.
    tables
        The damaged ones of those that are written whole.
    files
        The damaged files of elements, with their content.
    """

    location: Location
    published: DatasetConfig
    survey: Damage
    checkpoint: Checkpoint
    data: Mapping[str, TableFiles]
    tables: Mapping[str, pa.Table]
    files: Mapping[str, bytes]

    def commit(self) -> DatasetConfig:
        """Write the tables and files; what is to be published. May be stopped and done again."""
        for name, content in self.files.items():
            self.location.put(name, content)
        damaged = [name for name in self.published.tables if name in self.survey.tables]
        without = files_without_checksum(self.location, self.published, self.survey.unopened)
        versions = {name: self._write(name) for name in damaged}
        fresh = [one for name in damaged if name in self.data for one in self._fresh(name)]
        gone = {one.file.file for one in self.survey.files}
        kept = [
            one for one in valid_here(self.location, self.published.proof) if one.file not in gone
        ]
        return add_checksums(
            self.location,
            structs.replace(
                self.published,
                versions={**self.published.versions, **versions},
                last_updated=datetime.now(UTC).isoformat(timespec="seconds"),
            ),
            [*kept, *fresh],
            without,
            self.published.proof,
        )

    def publish(self, published: DatasetConfig) -> None:
        """Make what was committed what readers see, and remove what is no longer needed."""
        for name in published.tables.keys() - self.survey.tables:
            # What a run left that was given up for this one.
            drop_newer_versions(self.location, published.tables[name], published.versions[name])
        done = replace(self.checkpoint, published=True)
        save(self.location, Manifest(published, done.to_json()))
        clean_up(self.location, published)

    def _write(self, name: str) -> int:
        """Write one table; its version."""
        directory, before = self.published.tables[name], self.published.versions[name]
        schema = self._schema(name)
        if name in self.survey.unopened:
            rebuild_version(self.location, directory, before, schema, self._before(name))
        if name in self.data:
            for place, file in self.data[name].fresh.items():
                if place != file.file:
                    self.location.move(place, file.file)
            version = commit(self.location, directory, schema, self.data[name].after)
        else:
            version = write_table(self.location, directory, self.tables[name])
        create_indices = self.checkpoint.plan.options.create_indices
        for column, kind in indexed_columns(name, create_indices=create_indices).items():
            version = index(self.location, directory, column, kind)
        return version

    def _schema(self, name: str) -> pa.Schema:
        plan = self.checkpoint.plan
        if name == EXPRESSION:
            return plan.schema
        if name == BY_GENE:
            return plan.schema_by_gene
        for companion in plan.companions:
            if companion.table == name:
                return companion.schema(plan.options)
        return self.tables[name].schema

    def _before(self, name: str) -> Sequence[Fragment]:
        """The fragments of a table as they were, be their files damaged."""
        if name in self.data:
            return self.data[name].before
        table, directory = self.tables[name], self.published.tables[name]
        files = [one for one in self.published.proof.of(directory) if "/data/" in one.file]
        return [Fragment.of_file(one, len(table.schema), table.num_rows) for one in files]

    def _fresh(self, name: str) -> Iterator[StoredFile]:
        for file in self.data[name].fresh.values():
            # A bucket may give what is copied another tag.
            mark = self.location.mark(file.file) if self.location.is_remote else None
            yield file if mark is None else structs.replace(file, etag=mark.etag)


def _data(
    location: Location,
    published: DatasetConfig,
    survey: Damage,
    checkpoint: Checkpoint,
    table: str,
) -> TableFiles:
    directory = published.tables[table]
    known = {one.file: one for one in published.proof.of(directory)}
    if table in survey.unopened:
        before = _recorded(location, published, table, checkpoint)
    else:
        before = fragments_of(location, directory, published.versions[table])
    fragments, made = _results(checkpoint, survey, table, directory)
    # Some may have their place already, from a run that was stopped.
    fresh = {
        place if location.size_of(place) is not None else one.file: one
        for place, one in made.items()
    }
    after: list[Fragment] = []
    placed: set[tuple[int, int]] = set()
    for fragment in before:
        file = known.get(f"{directory}/{fragment.paths[0]}")
        held = None if file is None else file.cells or file.genes
        if held is None or held not in fragments:
            after.append(fragment)
        elif held not in placed:
            placed.add(held)
            after += fragments[held]
    return TableFiles(before, after, fresh)


def _results(
    checkpoint: Checkpoint, survey: Damage, table: str, directory: str
) -> tuple[dict[tuple[int, int], list[Fragment]], dict[str, StoredFile]]:
    """The new fragments of a table by the cells or genes, and the new files by where they are."""
    fragments: dict[tuple[int, int], list[Fragment]] = {}
    fresh: dict[str, StoredFile] = {}
    for rows, made in _made(checkpoint, survey, table):
        fragments[rows.start, rows.stop] = made.fragments
        for file in made.files:
            name = file.file.replace(scratch_of(directory), directory, 1)
            fresh[file.file] = structs.replace(file, file=name)
    return fragments, fresh


def _made(
    checkpoint: Checkpoint, survey: Damage, table: str
) -> Iterator[tuple[RowRange, PartResult | LayerResult | GenePart]]:
    """What was written again of a table, with the cells or genes whose rows these are."""
    if table == BY_GENE:
        yield from ((part.genes, part) for part in checkpoint.by_gene if part.genes in survey.genes)
        return
    for result in checkpoint.results():
        rows = checkpoint.plan.parts[result.index]
        if table in survey.parts[rows]:
            yield rows, result if table == EXPRESSION else result.companions[table]


def _recorded(
    location: Location, published: DatasetConfig, table: str, checkpoint: Checkpoint
) -> list[Fragment]:
    """The fragments of a table whose version is damaged, by what config.json says of its files."""
    directory = published.tables[table]
    files = [one for one in published.proof.of(directory) if "/data/" in one.file]
    files = [one for one in files if one.cells or one.genes]
    files.sort(key=lambda one: one.cells or one.genes or (0, 0))
    plan = checkpoint.plan
    schemas = {one.table: one.schema(plan.options) for one in plan.companions}
    records = {LAYERS: published.annotations.layers, RAW: published.annotations.raw}
    rows = {name: record.rows for name, record in records.items() if record is not None}
    rows |= dict.fromkeys((EXPRESSION, BY_GENE), published.expression_count)
    schemas |= {EXPRESSION: plan.schema, BY_GENE: plan.schema_by_gene}
    width = len(schemas[table])
    if sum(one.rows or 0 for one in files) != rows[table]:
        msg = (
            f"{location}: the version of {table} is damaged, and of some of its files nothing was "
            "noted when they were written; restore it from a copy, or convert again"
        )
        raise DamagedDataset(msg)
    return [Fragment.of_file(one, width) for one in files]
