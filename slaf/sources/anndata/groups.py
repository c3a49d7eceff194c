"""Groups and arrays, of HDF5 or of zarr, that hold an AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    import anndata
    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.sources.csr import ArrayLike
    from slaf.sources.dense import DenseArray

__all__ = ["Groups"]


class Groups(Protocol):
    """A file or folder of strangers with groups and arrays, by their paths.

    Whatever a path leads to is checked: it is in the file itself, and not larger than what is
    stored.

    Attributes
    ----------
    uri
        Its path or URL, for messages and config.json.
    """

    uri: str

    def within(self, path: str) -> Self:
        """The groups and arrays in a group; closing them closes all.

        Raises
        ------
        DamagedInput
            If there is none.
        """

    def keys(self, path: str) -> list[str]:
        """The names in a group, sorted; none if there is no such group."""

    def has(self, path: str) -> bool:
        """Whether there is a group or an array of this name."""

    def get(self, path: str) -> Any:
        """The group or array of h5py or zarr, checked.

        Raises
        ------
        DamagedInput
            If there is none.
        """

    def read(self, path: str) -> Any:
        """An element as anndata reads it, but the names of an enumeration, not its codes.

        Raises
        ------
        DamagedInput
            If there is none.
        InputError
            If a code has no name.
        """

    def is_enumeration(self, path: str) -> bool:
        """Whether it is an array of codes with names, of HDF5."""

    def shape(self, path: str) -> tuple[int, ...] | None:
        """The shape of an array; None for a group."""

    def attribute(self, path: str, name: str, default: Any = None) -> Any:
        """An attribute of a group or an array; the default if there is none."""

    def check_size(self, path: str) -> None:
        """Check that an array is not much larger than what is stored.

        Raises
        ------
        DamagedInput
            If it is mostly missing, or packed more than real data.
        """

    def check_table(self, path: str, n_rows: int) -> None:
        """Check the arrays of a table with so many checked ids, as `check_size` does."""

    def open_compressed(self, path: str) -> tuple[ArrayLike, ArrayLike, ArrayLike]:
        """The arrays indptr, indices and data of a sparse matrix, checked."""

    def open_dense(self, path: str) -> tuple[DenseArray, tuple[int, int] | None]:
        """An array of numbers in two dimensions, checked, and the shape of its chunks."""

    def read_numbers(self, path: str) -> NDArray[Any] | None:
        """A list of numbers or booleans, of a checked table; None for anything else."""

    def read_strings(self, path: str) -> pa.Array | None:
        """A list of texts of any length, of a checked table; None for anything else."""

    def close_members(self, path: str) -> None:
        """Close what is kept open of a group that was read."""

    def read_tables_of_arrays(self, members: Mapping[str, str]) -> anndata.AnnData:
        """Some members of a file of anndata before 0.7, whose tables are arrays, by new names."""

    def identity(self) -> Mapping[str, Any]:
        """A fingerprint of the content."""

    def errors(self, label: str) -> AbstractContextManager[None]:
        """Turn errors of the library into DamagedInput, and name the location."""

    def close(self) -> None:
        """Close what is open."""
