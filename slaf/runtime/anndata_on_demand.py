"""anndata, which tiledbsoma imports to name a type, imported only where something needs it.

Reading an experiment needs none: 0.4 s of CPU and 70 MB.
"""

from __future__ import annotations

import builtins
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType

__all__ = ["import_anndata_on_demand"]

_ANNDATA, _NAMES = "anndata", ("AnnData",)

# They name AnnData in annotations; the last one also makes one, from a query.
_MODULES = frozenset({"somacore.query.query", "tiledbsoma._query"})


def import_anndata_on_demand() -> None:
    """Let the modules of tiledbsoma that only name AnnData be imported without anndata.

    A function stands in for the class in these modules, which are imported later and see no other
    `__import__` than their own; it imports anndata when it is called.
    """
    if _ANNDATA not in sys.modules and _MODULES.isdisjoint(sys.modules):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module that names AnnData, and of no other."""
        if name not in _MODULES:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or not isinstance(spec.loader, SourceFileLoader):
            return None
        spec.loader = _Loader(name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        """Run a module with an `__import__` of its own."""
        vars(module)["__builtins__"] = vars(builtins) | {"__import__": _import}
        super().exec_module(module)


def _import(name: str, *arguments: Any, **keywords: Any) -> Any:
    module = __import__ if name != _ANNDATA or _ANNDATA in sys.modules else _stand_in
    return module(name, *arguments, **keywords)


def _stand_in(
    name: str,
    scope: Mapping[str, object],
    variables: Mapping[str, object],
    names: Sequence[str] | None,
    level: int,
) -> Any:
    """What `from anndata import AnnData` takes the name from."""
    if names == _NAMES:
        return SimpleNamespace(AnnData=_make)
    return __import__(name, scope, variables, names or (), level)


def _make(*arguments: Any, **keywords: Any) -> Any:
    import anndata

    return anndata.AnnData(*arguments, **keywords)
