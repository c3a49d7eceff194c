"""The context in which an experiment is read: how much TileDB takes, and what it must not do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from slaf.allowance import usable_cores
from slaf.sources.soma_remote import context

if TYPE_CHECKING:
    import tiledbsoma

    from slaf.storage.remote_path import RemotePath

__all__ = ["context_of"]

# Of each column read at a time; TileDB makes it so large, however few rows there are.
_BUFFER_BYTES: Final = 8 << 20
_MOST_THREADS: Final = 8
# For tiles that are decoded; what is read together is a fraction of it.
_TILE_BYTES: Final = 1 << 30


def context_of(path: RemotePath | None) -> tiledbsoma.SOMATileDBContext:
    """A context for one experiment.

    Parameters
    ----------
    path
        Where it is, if not on this machine.
    """
    import tiledbsoma

    threads = str(min(usable_cores(), _MOST_THREADS))
    config: dict[str, str | float] = {
        # The order of tiles is worked out by tasks which may outlive the query whose memory
        # they use: then TileDB crashes, or aborts over memory that was not freed.
        # https://github.com/TileDB-Inc/TileDB/pull/5723
        "sm.query.sparse_global_order.preprocess_tile_merge": "0",
        "soma.init_buffer_bytes": str(_BUFFER_BYTES),
        "sm.mem.total_budget": str(_TILE_BYTES),
        "sm.compute_concurrency_level": threads,
        "sm.io_concurrency_level": threads,
        # A Ctrl-C is for Python to tell; TileDB would cancel what it does, and report that.
        "sm.enable_signal_handlers": "false",
    }
    if path is not None:
        config.update(context(path))
    return tiledbsoma.SOMATileDBContext(tiledb_config=config)
