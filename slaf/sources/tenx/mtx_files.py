"""The files of Matrix Market inputs: which matrices, barcodes and features belong together.

Names decide, as Cell Ranger, STARsolo, kb, alevin-fry and Parse give them, behind any prefix; or a
folder leaves one reading only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from slaf.errors import DamagedInput, UnknownFormat
from slaf.sources.tenx.matrix_market import read_header
from slaf.sources.tenx.tables import possible_rows
from slaf.sources.tenx.text import read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = ["MtxFiles", "files_of", "is_matrix_name", "members", "without_packed_copies"]

BARCODES, FEATURES = "barcodes", "features"

_MATRIX = re.compile(r"(?P<stem>.*)\.mtx(\.gz)?", re.IGNORECASE)
_TABLE = re.compile(r"(?P<stem>.*)\.(tsv|txt|csv|bed)(\.gz)?", re.IGNORECASE)
# The last word of the name of a table says what it holds: GSM1_barcodes.tsv.gz.
_WORDS = {
    BARCODES: r"barcodes?|cells?|cell[_-]?(?:names|metadata|barcodes?|ids?)|rows",
    FEATURES: r"features?|genes?|(?:all|gene|feature)[_-]?(?:genes|names|ids?)|peaks|motifs|cols",
}
_ROLES = {
    role: re.compile(rf"(?P<key>.*?)(?:{words})", re.IGNORECASE) for role, words in _WORDS.items()
}
_NAMES_OF_GENES = re.compile(r"(?P<key>.*)\.genes\.names", re.IGNORECASE)
# The words for a matrix itself, which its tables do not repeat.
_MATRIX_WORDS = re.compile(
    r"(?:^|[^A-Za-z])?(?:(?:count|gene|feature|quants?)[_-]?)?(?:matrix|counts?|mtx|mat|dge)$",
    re.IGNORECASE,
)
# Which of several matrices of the same cells and genes is X: the counts, by name.
_FIRST = ("matrix", "counts", "count_matrix", "raw_counts", "raw")
_FIRST_OF_SPLICING = ("cell", "nucleus", "total", "spliced", "mature")
# Counts of one sample by the splicing of their molecules, and their sums.
_SPLICING = frozenset({*_FIRST_OF_SPLICING, "unspliced", "ambiguous", "nascent"})
# https://github.com/alexdobin/STAR/blob/master/docs/STARsolo.md#multi-gene-reads
_MULTI_MAPPERS = "uniqueandmult-"
# The tables of tools whose matrices are cells × genes: kb, alevin-fry, Parse.
_ROWS_ARE_CELLS = re.compile(
    r".*\.barcodes\.txt|quants_mat_rows\.txt|(?:cell_metadata|all_genes)\.csv(?:\.gz)?"
)
_ROWS_ARE_GENES = re.compile(r".*(?:barcodes|features|genes|peaks)\.(?:tsv|bed)(?:\.gz)?")


@dataclass(frozen=True, slots=True)
class MtxFiles:
    """The files of one input.

    Attributes
    ----------
    matrix
        X.
    barcodes, features
        The tables of cells and genes; None if they are missing.
    layers
        Further matrices of the same cells and genes, by name; X too where it has such a name.
    gene_names
        A list of the names of genes, in their order.
    rows_are_cells
        Whether the matrix is cells × genes by the names of its files; None if they do not say.
    not_converted
        The names of further matrices that are left out.
    """

    matrix: Path
    barcodes: Path | None
    features: Path | None
    layers: Mapping[str, Path] = field(default_factory=dict)
    gene_names: Path | None = None
    rows_are_cells: bool | None = None
    not_converted: tuple[str, ...] = ()

    @property
    def all(self) -> list[Path]:
        """All files."""
        files = (self.matrix, self.barcodes, self.features, self.gene_names, *self.layers.values())
        return [path for path in files if path is not None]


def is_matrix_name(path: Path) -> bool:
    """Whether a file has the name of a matrix."""
    return _MATRIX.fullmatch(path.name) is not None


def members(folder: Path) -> tuple[list[Path], frozenset[str]]:
    """The inputs in a folder, and the names of all files that they are made of.

    An input is named by its matrix; a single one by the folder.
    """
    listing = _Listing(folder)
    sets = [listing.files(some) for some in listing.groups()]
    used = {path.name for files in sets for path in files.all} | listing.copies
    used |= {path.name for path in listing.matrices} | listing.names_of_tables()
    paths = [folder] if len(sets) == 1 else [files.matrix for files in sets]
    return paths, frozenset(used)


def files_of(path: Path) -> MtxFiles:
    """The files of an input: of the only one of a folder, or of the matrix that is named.

    Raises
    ------
    UnknownFormat
        If a folder holds several.
    DamagedInput
        If it holds none.
    """
    listing = _Listing(path if path.is_dir() else path.parent, None if path.is_dir() else path)
    groups = listing.groups()
    if not path.is_dir():
        for group in groups:
            if _first(group) == path:
                return listing.files(group)
        return listing.files([path])
    if len(groups) > 1:
        names = ", ".join(_first(group).name for group in groups)
        msg = f"{path}: it holds several matrices; name one of them as the input: {names}"
        raise UnknownFormat(msg)
    if not groups:
        msg = f"{path}: it holds no matrix.mtx or matrix.mtx.gz"
        raise DamagedInput(msg)
    return listing.files(groups[0])


def without_packed_copies(paths: Iterable[Path]) -> tuple[list[Path], set[str]]:
    """The files without packed copies of others, and the names of these copies."""
    kept: dict[str, Path] = {}
    copies = set()
    # Packed files first: they are read in less time.
    for path in sorted(paths, key=lambda path: not path.name.endswith(".gz")):
        first = kept.setdefault(path.name.removesuffix(".gz"), path)
        if first != path:
            _check_copy(first, path)
            copies.add(path.name)
    return sorted(kept.values()), copies


def _check_copy(packed: Path, plain: Path) -> None:
    """Refuse a file that differs from its packed copy: a matrix by its header."""
    same = (
        read_header(packed).sizes == read_header(plain).sizes
        if is_matrix_name(plain)
        else read_text(packed) == read_text(plain)
    )
    if not same:
        msg = (
            f"{plain.parent}: {packed.name} and {plain.name} differ, and nothing says which is "
            "meant; move one of them away"
        )
        raise DamagedInput(msg)


class _Listing:
    """The matrices and tables of a folder.

    Parameters
    ----------
    folder
        The folder.
    named
        A matrix that is one whatever its name.
    """

    def __init__(self, folder: Path, named: Path | None = None) -> None:
        # Without the "._matrix.mtx.gz" of macOS.
        children = [] if named is not None and _is_web(named) else sorted(folder.iterdir())
        visible = [child for child in children if not child.name.startswith(".")]
        self._texts = [path for path in visible if _TABLE.fullmatch(path.name) and path != named]
        matrices = [path for path in visible if is_matrix_name(path)]
        if named is None:
            self.matrices, self.copies = without_packed_copies(matrices)
        else:
            plain = named.name.removesuffix(".gz")
            others = [path for path in matrices if path.name.removesuffix(".gz") != plain]
            self.matrices, self.copies = [*others, named], set()
        owned = {key for matrix in self.matrices for key in _keys(matrix)}
        self._tables = {role: _by_key(self._texts, role) for role in _ROLES}
        self._shared = {
            role: [path for key, paths in tables.items() if key not in owned for path in paths]
            for role, tables in self._tables.items()
        }

    def groups(self) -> list[list[Path]]:
        """The matrices, those of the same cells and genes together."""
        groups: dict[object, list[Path]] = {}
        splicing: dict[tuple[str, ...], list[list[Path]]] = {}
        for matrix in self.matrices:
            pair = (self._table(matrix, BARCODES), self._table(matrix, FEATURES))
            key = (None, matrix) if None in pair else pair
            if key not in groups and _words(matrix)[-1] in _SPLICING:
                splicing.setdefault(tuple(_words(matrix)[:-1]), []).append(
                    groups.setdefault(key, [])
                )
            groups.setdefault(key, []).append(matrix)
        for first, *others in splicing.values():
            for other in others:
                self._check_same_tables(first[0], other[0])
                first.extend(other)
                other.clear()
        return [group for group in groups.values() if group]

    def files(self, group: Sequence[Path]) -> MtxFiles:
        """The files of matrices of the same cells and genes."""
        first = _first(group)
        barcodes, features = (self._table(first, role) for role in (BARCODES, FEATURES))
        others = [path for path in group if path != first]
        left = [path.name for path in others if _stem(path).lower().startswith(_MULTI_MAPPERS)]
        named = [path for path in others if path.name not in left]
        if named and _words(first)[-1] in _SPLICING:
            named = [first, *named]
        return MtxFiles(
            first,
            barcodes,
            features,
            layers={_layer_name(path, group): path for path in named},
            gene_names=self._gene_names(first),
            rows_are_cells=_rows_are_cells(barcodes, features),
            not_converted=tuple(left),
        )

    def names_of_tables(self) -> set[str]:
        """The names of the tables of all matrices."""
        tables = (self._table(matrix, role) for matrix in self.matrices for role in _ROLES)
        return {table.name for table in tables if table is not None}

    def _check_same_tables(self, first: Path, other: Path) -> None:
        """Refuse two counts of one sample that are of other cells or genes."""
        for role in (BARCODES, FEATURES):
            tables = self._table(first, role), self._table(other, role)
            if None in tables or len({read_text(table) for table in tables if table}) > 1:
                msg = (
                    f"{first.parent}: {first.name} and {other.name} are counts of one sample, but "
                    f"not of the same {role}; convert the file of the tool that holds both (of kb "
                    "adata.h5ad), or name one of them as the input"
                )
                raise UnknownFormat(msg)

    def _table(self, matrix: Path, role: str) -> Path | None:
        """The table of a matrix: the one of its name, or else the only one that is no other's."""
        tables, keys = self._tables[role], _keys(matrix)
        own = [path for key in keys for path in tables.get(key, ())]
        for some in (own, self._shared[role]):
            if table := _only(some):
                return table
        # That of another matrix is shared only if it may be.
        general = _only(tables.get("", ()))
        return general if general is not None and _fits(general, matrix) else None

    def _gene_names(self, matrix: Path) -> Path | None:
        for path in self._texts:
            matched = _NAMES_OF_GENES.fullmatch(_table_stem(path))
            if matched and _normalised(matched["key"]) in _keys(matrix):
                return path
        return None


def _only(tables: Sequence[Path]) -> Path | None:
    """The table, if there is one, packed or not."""
    kept = without_packed_copies(_best(tables))[0] if tables else []
    return kept[0] if len(kept) == 1 else None


def _fits(table: Path, matrix: Path) -> bool:
    """Whether a table may list the rows or the columns of a matrix."""
    try:
        header = read_header(matrix)
    except DamagedInput:
        return False
    return bool({header.n_rows, header.n_columns} & possible_rows(table))


def _by_key(tables: Iterable[Path], role: str) -> dict[str, list[Path]]:
    """The tables of a role by what stands before its word in their names."""
    by_key: dict[str, list[Path]] = {}
    for table in tables:
        if matched := _ROLES[role].fullmatch(_table_stem(table)):
            by_key.setdefault(_normalised(matched["key"]), []).append(table)
    return by_key


def _is_web(path: Path) -> bool:
    from slaf.storage.paths import as_remote

    remote = as_remote(path)
    return remote is not None and remote.is_web


def _best(tables: Sequence[Path]) -> list[Path]:
    """Of tables of one role those of Cell Ranger's names, if any: features before genes."""
    for word in ("barcodes", "features", "genes", "all_genes", "cell_metadata"):
        if named := [path for path in tables if _table_stem(path).lower().endswith(word)]:
            return named
    return list(tables)


def _first(group: Sequence[Path]) -> Path:
    """X among matrices of the same cells and genes.

    Raises
    ------
    UnknownFormat
        If nothing says which it is.
    """
    counted = [path for path in group if not _stem(path).lower().startswith(_MULTI_MAPPERS)]
    if len(counted) == 1:
        return counted[0]
    for name in (*_FIRST, *_FIRST_OF_SPLICING):
        for path in counted:
            if _stem(path).lower() == name or _words(path)[-1] == name:
                return path
    names = ", ".join(path.name for path in group)
    msg = (
        f"{group[0].parent}: it holds several matrices of the same cells and genes, and their "
        f"names do not say which are the counts; name one of them as the input: {names}"
    )
    raise UnknownFormat(msg)


def _rows_are_cells(barcodes: Path | None, features: Path | None) -> bool | None:
    names = [path.name.lower() for path in (barcodes, features) if path is not None]
    if any(_ROWS_ARE_CELLS.fullmatch(name) for name in names):
        return True
    return False if names and all(_ROWS_ARE_GENES.fullmatch(name) for name in names) else None


def _layer_name(path: Path, group: Sequence[Path]) -> str:
    """The words of a name that those of the group do not share."""
    words, lists = _words(path), [_words(other) for other in group]
    n_shared = next(
        (
            at
            for at, word in enumerate(words)
            if any(other[at : at + 1] != [word] for other in lists)
        ),
        0,
    )
    return "_".join(words[n_shared:])


def _stem(matrix: Path) -> str:
    matched = _MATRIX.fullmatch(matrix.name)
    return matched["stem"] if matched else matrix.name


def _words(matrix: Path) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+", _stem(matrix).lower()) if word] or [""]


def _keys(matrix: Path) -> set[str]:
    """What the names of the tables of a matrix may begin with."""
    stem = _stem(matrix)
    keys = {stem, _MATRIX_WORDS.sub("", stem)}
    *words, last = _words(matrix)
    if last in _SPLICING:
        keys.add("_".join(words))
    if stem.lower().startswith(_MULTI_MAPPERS):
        keys.add("")
    return set(map(_normalised, keys))


def _table_stem(path: Path) -> str:
    matched = _TABLE.fullmatch(path.name)
    return matched["stem"] if matched else path.name


def _normalised(key: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", key.lower()).strip("_")
