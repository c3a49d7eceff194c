"""pandas, which pyarrow imports with its datasets, imported only where something needs it.

Most processes need Lance, and so `pyarrow.dataset`, but no pandas: 0.3 s of CPU and 40 MB.
"""

from __future__ import annotations

import sys
import threading
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

__all__ = ["import_pandas_on_demand"]

_PANDAS, _DATASETS = "pandas", "pyarrow._dataset"


def import_pandas_on_demand() -> None:
    """Let pyarrow find no pandas while its datasets are imported, and find it later.

    pyarrow asks for pandas once, to tell its types from others, and does without where it is not
    installed. When pandas is imported after that, pyarrow is made to ask again.
    """
    if _PANDAS not in sys.modules and _DATASETS not in sys.modules:
        sys.meta_path.insert(0, _Finder())


class _Finder:
    def __init__(self) -> None:
        self._importing: int | None = None
        self._was_hidden = False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of pandas, and of no other module."""
        if name == _DATASETS:
            self._importing = threading.get_ident()
        if name != _PANDAS:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or not isinstance(spec.loader, SourceFileLoader):
            return None
        if self._is_asked_for_by_datasets():
            self._was_hidden = True
            msg = "pandas is imported when it is needed"
            raise ModuleNotFoundError(msg, name=name)
        if self._was_hidden:
            spec.loader = _Loader(name, spec.loader.path)
        return spec

    def _is_asked_for_by_datasets(self) -> bool:
        """True while this thread imports the datasets of pyarrow."""
        module = sys.modules.get(_DATASETS)
        is_unfinished = getattr(getattr(module, "__spec__", None), "_initializing", False)
        is_known = hasattr(sys.modules.get("pyarrow.lib"), "_pandas_api")
        return is_unfinished and is_known and self._importing == threading.get_ident()


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        """Load pandas, and make pyarrow ask for it again."""
        super().exec_module(module)
        import pyarrow.lib

        _ = pyarrow.lib._pandas_api.pd  # noqa: SLF001 - no public name does
