"""obs and var of a view, which refuse assignments; apart, for it imports pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import pandas as pd

from slaf.annotations.read_only import refuse

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ReadOnlyFrame"]


class _ReadOnlyIndexer:
    """`loc`, `iloc`, `at` or `iat` of a frame, for reading."""

    def __init__(self, indexer: Any, name: str) -> None:
        self._indexer = indexer
        self._name = name

    def __getitem__(self, key: Any) -> Any:
        return self._indexer[key]

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        refuse(self._name)

    def __call__(self, axis: Any = None) -> Any:
        return self._indexer(axis)

    def __getattr__(self, name: str) -> Any:
        # The methods of a frame use those of the indexer.
        return getattr(self._indexer, name)


class ReadOnlyFrame(pd.DataFrame):
    """obs or var; every operation, like `copy`, gives a plain frame that can be changed."""

    _metadata = ("_slaf_name",)
    _slaf_name = "obs"

    @classmethod
    def of(cls, frame: pd.DataFrame, name: str) -> ReadOnlyFrame:
        """A frame that refuses assignments; it is not copied."""
        found = cls(frame)
        object.__setattr__(found, "_slaf_name", name)
        return found

    @property
    def _constructor(self) -> Callable[..., pd.DataFrame]:
        return pd.DataFrame

    def __reduce__(self) -> tuple[Any, ...]:
        return ReadOnlyFrame.of, (pd.DataFrame(self), self._slaf_name)

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        refuse(self._slaf_name)

    def __delitem__(self, key: Any) -> NoReturn:  # type: ignore[misc]
        refuse(self._slaf_name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name != "attrs":
            refuse(self._slaf_name)
        super().__setattr__(name, value)

    def insert(self, *_arguments: Any, **_keywords: Any) -> NoReturn:
        """Refuse a new column."""
        refuse(self._slaf_name)

    def update(self, *_arguments: Any, **_keywords: Any) -> NoReturn:
        """Refuse new values."""
        refuse(self._slaf_name)

    def _update_inplace(self, *_arguments: Any, **_keywords: Any) -> NoReturn:
        refuse(self._slaf_name)

    @property
    def loc(self) -> Any:
        """Rows and columns by label."""
        return _ReadOnlyIndexer(super().loc, self._slaf_name)

    @property
    def iloc(self) -> Any:
        """Rows and columns by position."""
        return _ReadOnlyIndexer(super().iloc, self._slaf_name)

    @property
    def at(self) -> Any:
        """One value by label."""
        return _ReadOnlyIndexer(super().at, self._slaf_name)

    @property
    def iat(self) -> Any:
        """One value by position."""
        return _ReadOnlyIndexer(super().iat, self._slaf_name)
