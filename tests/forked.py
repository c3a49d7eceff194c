"""Processes forked from one that has imported what is slow to import, the same for all tests.

It only imports, and starts no threads: Lance, Polars and DuckDB are safe in what is forked from it.
"""

from __future__ import annotations

import multiprocessing

__all__ = ["FORKED"]

FORKED = multiprocessing.get_context("forkserver")
# There is one server for a run of tests, with the modules that were named last.
FORKED.set_forkserver_preload(
    [
        "tests.imported",
        "slaf.training.torch",  # passed over without PyTorch
        "slaf.training.loader",
    ]
)
