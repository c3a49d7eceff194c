"""The options: each is checked, and none of them does nothing."""

from __future__ import annotations

import shutil
import tempfile
from concurrent.futures import Executor, Future
from dataclasses import FrozenInstanceError, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest

import slaf
from slaf.errors import DatasetError
from slaf.options import (
    AppendOptions,
    ConvertOptions,
    Options,
    PlanOptions,
    ReadOptions,
    StoreOptions,
    docs_of,
    options_of,
)
from slaf.testing.crashing import Crash, CrashingStorage
from tests.builders import counts, write_h5ad
from tests.cloud.servers import Cloud, upload
from tests.conversion.outputs import output_of
from tests.sources.reads import M, Read, write_reads

if TYPE_CHECKING:
    from collections.abc import Iterator

N_CELLS, N_GENES = 12, 6
IN_THE_MIDDLE = 20
RECORDS = [ConvertOptions, AppendOptions, PlanOptions]


# --------------------------------------------------------------------------- no option does nothing


class Recorder:
    """A progress that counts what it is told."""

    def __init__(self) -> None:
        self.calls = 0

    def begin(self, cells: int, nonzeros: int, total_cells: int) -> None:
        """Count it."""
        self.calls += cells + nonzeros + total_cells

    def advance(self, cells: int, nonzeros: int) -> None:
        """Count it."""
        self.calls += cells + nonzeros


class Counter(Executor):
    """An executor that counts what it runs, in this thread."""

    def __init__(self) -> None:
        self.calls = 0

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run it."""
        self.calls += 1
        future: Future[Any] = Future()
        future.set_result(function(*args, **kwargs))
        return future


@dataclass(frozen=True)
class Case:
    """A value of an option that changes something.

    Attributes
    ----------
    value
        The value; text in braces stands for what is known when the call is made.
    also
        The other options of both calls.
    inputs
        The names of the inputs.
    at_output
        What is at the output before the call: a name in the folder; None for what is usual.
    """

    value: Any
    also: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ("more.h5ad",)
    at_output: str | None = None


# An option that an input does not know is refused.
READ = {
    "genome": Case("mm10"),
    "feature_type": Case("Antibody Capture"),
    "measurement": Case("RNA"),
    "barcodes": Case("cells.tsv"),
    "features": Case("genes.tsv"),
    "gene_id_column": Case("id"),
    "transpose": Case(value=True),
    "modality": Case("rna"),
    "format": Case("10x_h5"),
    "workers": Case(2),
    "memory": Case(100, inputs=("columns.h5ad",)),
    "scratch": Case("{file}", {"memory": 1}, ("columns.h5ad",)),
    "storage_options": Case("{s3}", {"storage_options": "{gone}"}, ("{url}",)),
    "input_storage_options": Case("{s3}", {"storage_options": "{gone}"}, ("{url}",)),
    "stage": Case("{stage}", {"input_storage_options": "{s3}"}, ("{url}",)),
    "chunk_size": Case(4),
    "compact": Case(value=True, also={"chunk_size": 4}),
    "by_gene": Case(value=True),
    "without": Case("obsm"),
    "cell_id_prefix": Case(value=True),
    "samples": Case("{sheet}"),
    "executor": Case(Counter()),
    "ray_address": Case("auto"),
    "progress": Case(Recorder()),
    "dry_run": Case(value=True),
}
# These are of files of reads alone.
READS = {
    name: Case(value, inputs=("reads.bam",))
    for name, value in {
        "bin_size": 50,
        "regions": "{bed}",
        "chroms": "chr1",
        "min_mapq": 31,
        "exclude_flags": 16,
        "include_flags": 16,
        "stranded": "R",
        "blacklist": "{bed}",
    }.items()
}
CONVERT = (
    READ
    | READS
    | {
        "matrix": Case("layer:other"),
        "layers": Case("none"),
        "raw": Case(value=False),
        "uns_merge": Case("only", inputs=("more.h5ad", "columns.h5ad")),
        "join": Case("union", inputs=("more.h5ad", "wider.h5ad")),
        "compression": Case("small"),
        "create_indices": Case(value=True),
        "string_ids": Case(value=True),
        "plain_types": Case(value=True),
        "allow_duplicate": Case(value=True, inputs=("more.h5ad", "more.h5ad")),
        "restart": Case(value=True, at_output="begun.slaf"),
        "overwrite": Case(value=True, at_output="dataset.slaf"),
    }
)
APPEND = (
    READ
    | {name: replace(case, at_output="reads.slaf") for name, case in READS.items()}
    | {
        "new_only": Case(value=True, inputs=("first.h5ad", "more.h5ad")),
        "matrix": Case("layer:other"),
        "join": Case("union", inputs=("wider.h5ad",)),
        "allow_duplicate": Case(value=True, inputs=("first.h5ad",)),
        "restart": Case(value=True, at_output="adding.slaf"),
    }
)


@pytest.fixture(scope="module")
def s3(s3_server: Cloud) -> Cloud:
    """A bucket."""
    return s3_server.fresh()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs, a dataset, and unfinished runs."""
    folder = tmp_path_factory.mktemp("options")
    raw = anndata.AnnData(
        counts(N_CELLS, 9, seed=3), var=pd.DataFrame(index=[f"raw-{gene}" for gene in range(9)])
    )
    (folder / "sheet.csv").write_text("sample,donor\nmore,D1\n")
    for seed, name in enumerate(("first", "more")):
        matrix = counts(N_CELLS, N_GENES, seed=seed)
        write_h5ad(
            folder / f"{name}.h5ad",
            matrix,
            layers={"other": matrix * 2},
            obsm={"X_pca": np.ones((N_CELLS, 2))},
            uns={"colour": "red", name: seed},
            raw={"X": raw.X, "var": raw.var},
        )
    columns = counts(N_CELLS, N_GENES, seed=5).tocsc()
    write_h5ad(folder / "columns.h5ad", columns, uns={"colour": "red"})
    write_h5ad(folder / "wider.h5ad", counts(N_CELLS, N_GENES + 2, seed=6))
    alignments = [Read(0, 10, ((M, 20),)), Read(1, 5, ((M, 9),), 16), Read(3, 0, ((M, 40),))]
    write_reads(folder / "reads.bam", alignments)
    (folder / "regions.bed").write_text("chr1\t5\t15\n")
    slaf.convert(write_reads(folder / "first.bam", alignments[:2]), folder / "reads.slaf")
    slaf.convert(folder / "first.h5ad", folder / "dataset.slaf")
    shutil.copytree(folder / "dataset.slaf", folder / "adding.slaf")
    for verb, name in ((slaf.convert, "begun.slaf"), (slaf.append, "adding.slaf")):
        with pytest.raises(Crash):
            verb(
                folder / "columns.h5ad",
                CrashingStorage(folder / name, at=IN_THE_MIDDLE),
                chunk_size=3,
            )
    return folder


def outcome(
    verb: Any, inputs: list[Path | str], output: Path, options: dict[str, Any]
) -> list[Any]:
    """All that can be seen of a call and its dry run: results, errors, and what lies on disk."""
    seen: list[Any] = []
    for dry_run in dict.fromkeys([True, options.get("dry_run", False)]):
        try:
            result = verb(inputs, output, **options | {"dry_run": dry_run})
        except (slaf.SlafError, OSError, ValueError) as error:
            seen.append((type(error), str(error).replace(str(output), "OUTPUT")))
        else:
            seen.append(shown(result, output) if dry_run else "done")
    try:
        seen.append(output_of(output))
    except DatasetError as error:
        seen.append(type(error))
    else:
        dataset = slaf.open(output)
        seen += [dataset.published.checksums.storage, dataset.expression.schema.to_string()]
    progress = options.get("progress")
    staged = Path(options.get("stage") or "nowhere").exists()
    executor = options.get("executor")
    ran = executor.calls if executor else 0
    return [*seen, staged, progress.calls if progress else 0, ran]


def shown(preview: slaf.Preview, output: Path) -> dict[str, Any]:
    """A preview, without what another process may change meanwhile."""
    found = preview.to_json() | {"free": None, "output": None}
    assert preview.output == str(output)
    return found


class Calls:
    """Makes calls, each in a folder of its own, and remembers what came of them."""

    def __init__(self, folder: Path, s3: Cloud, work: Path) -> None:
        self._folder, self._s3, self._work = folder, s3, work
        self._outcomes: dict[str, list[Any]] = {}

    def outcome(self, verb: str, case: Case, options: dict[str, Any]) -> list[Any]:
        """What comes of a case with these options."""
        key = repr((verb, case.inputs, case.at_output, options))
        if key not in self._outcomes:
            self._outcomes[key] = self.fresh_outcome(verb, case, options)
        return self._outcomes[key]

    def fresh_outcome(self, verb: str, case: Case, options: dict[str, Any]) -> list[Any]:
        """The same, by a call that is made now."""
        work = Path(tempfile.mkdtemp(dir=self._work))
        output = work / "out.slaf"
        at_output = case.at_output or ("dataset.slaf" if verb == "append" else None)
        if at_output is not None:
            shutil.copytree(self._folder / at_output, output)
        inputs: list[Path | str] = [self._folder / file for file in case.inputs]
        if "{url}" in case.inputs:
            inputs = [upload(self._s3, self._folder / "more.h5ad")]
        gone = self._s3.via("http://127.0.0.1:9").options
        words = {
            "{s3}": self._s3.options,
            "{gone}": gone | {"client_max_retries": "0", "client_retry_timeout": "1"},
            "{stage}": str(work / "stage"),
            "{sheet}": str(self._folder / "sheet.csv"),
            "{file}": str(self._folder / "more.h5ad"),
            "{bed}": str(self._folder / "regions.bed"),
        }
        completed = {
            key: words.get(value, value) if isinstance(value, str) else value
            for key, value in options.items()
        }
        return outcome(getattr(slaf, verb), inputs, output, completed)


@pytest.fixture(scope="module")
def calls(folder: Path, s3: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Calls:
    """Calls of these inputs."""
    return Calls(folder, s3, tmp_path_factory.mktemp("calls"))


@pytest.mark.parametrize(
    ("verb", "name"),
    [*(("convert", name) for name in CONVERT), *(("append", name) for name in APPEND)],
)
def test_no_option_does_nothing(verb: str, name: str, calls: Calls) -> None:
    """Another value of an option changes the dataset, the plan or its estimate, or is refused."""
    case = (CONVERT if verb == "convert" else APPEND)[name]
    with_value = calls.outcome(verb, case, case.also | {name: case.value})
    assert calls.outcome(verb, case, case.also) != with_value


@pytest.mark.parametrize("verb", ["convert", "append"])
def test_the_same_options_do_the_same(verb: str, calls: Calls) -> None:
    """What is compared above does not differ by itself."""
    for case in (Case({}), READ["memory"], READ["scratch"]):
        again = calls.fresh_outcome(verb, case, case.also)
        assert calls.outcome(verb, case, case.also) == again


def test_every_option_has_a_case() -> None:
    """A new option comes with a value that changes something."""
    assert set(CONVERT) == set(options_of(ConvertOptions))
    assert set(APPEND) == set(options_of(AppendOptions))


# ----------------------------------------------------------------------------------------- records


@pytest.mark.parametrize("record", RECORDS)
def test_every_option_is_documented(record: type[Options]) -> None:
    """Each has a paragraph that says what it does, for Python and the command line."""
    docs = docs_of(record)
    assert set(docs) >= set(options_of(record))
    assert all(len(docs[name]) > 30 and docs[name].endswith(".") for name in options_of(record))
    verbs: dict[type[Options], Any] = {ConvertOptions: slaf.convert, AppendOptions: slaf.append}
    verb = verbs.get(record, slaf.plan)
    assert all(f"\n{name}\n    " in (verb.__doc__ or "") for name in options_of(record))


def test_an_unknown_option_is_named() -> None:
    """It is a TypeError that names the nearest one."""
    for verb, word, near in (
        (slaf.convert, "compresion", "compression"),
        (slaf.append, "chunksize", "chunk_size"),
    ):
        call: Any = verb
        with pytest.raises(TypeError, match=f"no option '{word}'; the nearest is '{near}'"):
            call("in.h5ad", "out.slaf", **{word: 1})


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("compression", "tiny", "compression is 'tiny', but it is one of fast, balanced, small"),
        ("join", "some", "join is 'some', but it is one of strict, union, intersection"),
        ("uns_merge", None, "uns_merge is None, but it is one of same"),
        ("chunk_size", 0, "chunk_size is 0, but it is at least 1"),
        ("chunk_size", 1.5, "chunk_size is 1.5, but it is a whole number"),
        ("memory", "2X", "memory is '2X', but it is a number of bytes, like"),
        ("memory", -1, "memory is -1, but it is a number of bytes, like"),
        ("workers", -1, "workers is -1, but it is at least 0"),
        ("compact", "no", "compact is 'no', but it is True or False"),
        ("without", ["X"], "'X' is nothing that could be left out"),
    ],
)
def test_a_wrong_value_is_refused(option: str, value: Any, message: str, tmp_path: Path) -> None:
    """It is a ValueError that names the option, before anything is read or written."""
    with pytest.raises(ValueError, match=message):
        slaf.convert(tmp_path / "none.h5ad", tmp_path / "out.slaf", **{option: value})
    assert not list(tmp_path.iterdir())


def test_a_record_is_a_value() -> None:
    """It does not change, equals another of the same options, and shows no secret."""
    options = ConvertOptions(without="uns", layers=["a"], storage_options={"key": "secret"})
    assert options == ConvertOptions(
        without=("uns",), layers=("a",), storage_options={"key": "secret"}
    )
    assert "secret" not in repr(options)
    with pytest.raises(FrozenInstanceError):
        options.raw = False  # type: ignore[misc]


def test_a_record_is_json() -> None:
    """What config.json holds of options is read back; what is of another release is refused."""
    options = StoreOptions(without="uns", layers=["a"], compression="small", chunk_size=7)
    assert StoreOptions.from_json(options.to_json()) == options
    assert StoreOptions.from_json({}) == StoreOptions()
    for other in ({"newer": True}, {"compression": "newer"}):
        with pytest.raises((TypeError, ValueError), match="newer"):
            StoreOptions.from_json(other)


def test_a_part_of_a_record() -> None:
    """The options of a format are those of the verb that have the same name."""
    options = ConvertOptions(matrix="raw", workers=3, compression="fast")
    assert ReadOptions.part_of(options) == ReadOptions(matrix="raw", workers=3)
    assert StoreOptions.part_of(options) == StoreOptions(compression="fast")


def other_values(record: type[Options]) -> Iterator[tuple[str, Any]]:
    """Each option of a record with a value that is not its default."""
    cases = CONVERT if record is ConvertOptions else APPEND
    for name in options_of(record).keys() - {"executor", "ray_address"}:
        value = cases[name].value
        is_placeholder = isinstance(value, str) and value.startswith("{") and "storage" in name
        yield name, {"key": "value"} if is_placeholder else value


@pytest.mark.parametrize("verb", [ConvertOptions, AppendOptions])
def test_a_plan_passes_every_option_on(verb: type[Options]) -> None:
    """Each option of a plan is that of the verb that is planned, or refused for it by name."""
    append = verb is AppendOptions
    for name, value in other_values(verb):
        planned = PlanOptions(append=append, **{name: value}).for_verb()
        assert planned == verb(**{name: value})
        assert planned != verb(), name
    with pytest.raises(ValueError, match="new_only is for an append"):
        PlanOptions(new_only=True).for_verb()
    others = dict(other_values(ConvertOptions))
    for name in options_of(ConvertOptions).keys() - options_of(AppendOptions).keys():
        with pytest.raises(ValueError, match=f"{name} was chosen when the dataset was made"):
            PlanOptions(append=True, **{name: others[name]}).for_verb()
