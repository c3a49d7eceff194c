"""The inputs of an append: those that the dataset has not yet, with samples as it has them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from msgspec import structs

from slaf.dataset.source import dataset_as_input
from slaf.errors import AlreadyInDataset, DuplicateInput, InputError, NoSuchInput
from slaf.format.config import load
from slaf.format.schema import CELLS
from slaf.runs.checkpoint import checkpoint_of
from slaf.sources.concat.members import SAMPLE, record_of
from slaf.sources.identity import address_of, content_key
from slaf.sources.samples import last_sheet, names_of_records, with_samples

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slaf.conversion.slafdb import SlafdbDataset
    from slaf.dataset.dataset import Dataset
    from slaf.format.config import SourceRecord
    from slaf.options import AppendOptions, ReadOptions, SlotSelection
    from slaf.runs.checkpoint import Checkpoint
    from slaf.sources import InputList
    from slaf.sources.concat.members import ExistingDataset, Input
    from slaf.sources.search import LeftOut
    from slaf.storage.location import Location

__all__ = [
    "NewInputs",
    "existing_with_samples",
    "select_new",
    "with_remembered_samples",
]

_NO_SHEET = "none"
_LISTED = 50


@dataclass(frozen=True, slots=True)
class NewInputs:
    """The inputs of one append.

    Attributes
    ----------
    inputs
        The inputs that the dataset has not, or those of the append that was stopped.
    n_later
        Further inputs that it has not, which the next append takes.
    """

    inputs: list[Input]
    n_later: int = 0


def select_new(found: InputList, dataset: Dataset | SlafdbDataset, *, restart: bool) -> NewInputs:
    """The inputs whose content a dataset has not yet.

    An append that was stopped is finished first, with its own inputs in their order, unless it is
    to be discarded.

    Raises
    ------
    AlreadyInDataset
        If it has all of them.
    DuplicateInput
        If it has other content of the same path or URL, or another form of the same sample; all
        are named.
    InputError
        If an input cannot be read.
    """
    inputs = found.inputs
    records = [record_of(one) for one in inputs]
    by_key = {content_key(record): one for record, one in zip(records, inputs, strict=True)}
    known = {content_key(record): record for record in dataset.sources}
    new = {key: one for key, one in by_key.items() if key not in known}
    append = _stopped_append(dataset.location, restart=restart)
    stopped = [] if append is None else _given(append.plan.added, by_key)
    if stopped:
        return NewInputs(stopped, len([one for one in new.values() if one not in stopped]))
    _check_not_changed(list(new.values()), dataset)
    _check_no_other_form(list(new.values()), found.left_out, dataset)
    if not new:
        msg = f"{dataset.location}: it has all of the {len(inputs):,} inputs: nothing is new"
        raise AlreadyInDataset(msg)
    return NewInputs(list(new.values()))


def _given(records: Sequence[SourceRecord], by_key: Mapping[str, Input]) -> list[Input]:
    """These inputs, if all are given: by their content, or where a damaged one was replaced."""
    by_address = {address_of(one.uri): one for one in by_key.values()}
    found = [by_key.get(content_key(one), by_address.get(address_of(one.uri))) for one in records]
    return [one for one in found if one is not None] if all(found) else []


def with_remembered_samples(
    inputs: Sequence[Input],
    dataset: Dataset | SlafdbDataset,
    options: AppendOptions,
    reading: ReadOptions,
) -> list[Input]:
    """The inputs with prefixes, samples and rows of a sheet; by default as the dataset has them.

    Raises
    ------
    NoSuchInput
        If the sheet that was given last is not there any more.
    InputError
        If the sheet does not fit the inputs.
    """
    records = _earlier_sources(dataset, restart=options.restart)
    prefixed = options.cell_id_prefix
    if prefixed is None:
        prefixed = any(record.prefix for record in records)
    sheet = last_sheet(records) if options.samples is None else options.samples
    if sheet == _NO_SHEET:
        sheet = None
    try:
        return with_samples(inputs, sheet, reading, prefixed=prefixed, earlier=records)
    except InputError as error:
        if options.samples is None and sheet is not None:
            error.add_note("it was the sample sheet of the append or conversion before")
            mended = "name a sheet" if isinstance(error, NoSuchInput) else "mend it, name another"
            error.remedy = f"{mended} with --samples, or take none with --samples none"
        raise


def existing_with_samples(dataset: Dataset, slots: SlotSelection) -> ExistingDataset:
    """A dataset and its inputs, with their samples in obs as soon as there are several."""
    existing = dataset_as_input(dataset)
    columns = {column.original for column in dataset.published.columns[CELLS].columns}
    recorded = any(SAMPLE in record.sample for record in existing.records)
    if recorded or SAMPLE in columns or not slots.includes(f"obs:{SAMPLE}"):
        return existing
    records = tuple(
        structs.replace(record, sample={SAMPLE: name, **record.sample})
        for record, name in zip(existing.records, names_of_records(existing.records), strict=True)
    )
    return replace(existing, records=records, new_columns=(SAMPLE,))


def _stopped_append(location: Location, *, restart: bool) -> Checkpoint | None:
    """The append that was stopped, perhaps after it was published; None without one."""
    manifest = load(location, legacy=True)
    if manifest is None or manifest.checkpoint is None:
        return None
    if restart and not manifest.checkpoint.get("published"):
        return None  # it is discarded, whatever it is
    checkpoint = checkpoint_of(location, manifest)
    is_append = checkpoint is not None and checkpoint.plan.operation == "append"
    return checkpoint if is_append else None


def _earlier_sources(
    dataset: Dataset | SlafdbDataset, *, restart: bool
) -> tuple[SourceRecord, ...]:
    """The inputs that the dataset had before an append that is published, but not cleaned up."""
    append = _stopped_append(dataset.location, restart=restart)
    if append is None or not append.published or append.plan.base is None:
        return dataset.sources
    return dataset.sources[: append.plan.base.n_sources]


def _check_not_changed(new: Sequence[Input], dataset: Dataset | SlafdbDataset) -> None:
    """Refuse inputs that the dataset has by the same path with other content."""
    known = {address_of(record.uri): record for record in dataset.sources if _has_path(record.uri)}
    changed: list[SourceRecord] = [
        known[address] for one in new if (address := address_of(one.uri)) in known
    ]
    if changed:
        more = f", and {len(changed) - _LISTED:,} more" if len(changed) > _LISTED else ""
        names = ", ".join(record.uri for record in changed[:_LISTED]) + more
        msg = (
            f"{names}: changed since {dataset.location} took it; take the earlier cells out with "
            "`slaf remove` first, or name the inputs without --new-only to have both"
        )
        raise DuplicateInput(msg)


def _check_no_other_form(
    new: Sequence[Input], left_out: Sequence[LeftOut], dataset: Dataset | SlafdbDataset
) -> None:
    """Refuse inputs in whose folder is another form of them, now left out, which was taken."""
    known = {address_of(record.uri) for record in dataset.sources if _has_path(record.uri)}
    taken = {_parent(one.path): one.path for one in left_out if address_of(one.path) in known}
    again = [(one.uri, taken[_parent(one.uri)]) for one in new if _parent(one.uri) in taken]
    if again:
        more = f", and {len(again) - _LISTED:,} more" if len(again) > _LISTED else ""
        pairs = ", ".join(f"{one} next to {other}" for one, other in again[:_LISTED]) + more
        msg = (
            f"{pairs}: {dataset.location} has the sample already, from the other form of its "
            "matrix; move the new form away, or take the cells of the earlier one out with "
            "`slaf remove` first"
        )
        raise DuplicateInput(msg)


def _parent(uri: str) -> str:
    return address_of(uri).rpartition("/")[0]


def _has_path(uri: str) -> bool:
    return not uri.startswith("<")
