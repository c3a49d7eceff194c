"""Refuse work in a process that was forked while Lance, Polars or DuckDB had threads."""

from __future__ import annotations

import os

from slaf.errors import ForkedProcess

__all__ = ["check_not_forked"]

_state = {"started": False, "forked": False}


def check_not_forked() -> None:
    """Note that libraries with threads are in use; refuse them in a forked child of such a process.

    Raises
    ------
    ForkedProcess
        If this process was forked after that.
    """
    if _state["forked"]:
        msg = (
            "this process was forked from one that used SLAF, and the threads of Lance, Polars and "
            "DuckDB do not survive a fork: start processes by spawn, as in "
            "multiprocessing.get_context('spawn') or DataLoader(multiprocessing_context='spawn')"
        )
        raise ForkedProcess(msg)
    _state["started"] = True


def _after_fork() -> None:
    _state["forked"] = _state["started"]


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)
