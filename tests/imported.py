"""What the commands of `slaf` import, for processes that are forked from one that has."""

from __future__ import annotations

import warnings

import anndata  # noqa: F401 - for those who are forked, as all below
import h5py  # noqa: F401
import hdf5plugin  # noqa: F401
import typer  # noqa: F401
import zarr  # noqa: F401

import slaf.conversion.append
import slaf.conversion.compact
import slaf.conversion.convert
import slaf.conversion.distributed
import slaf.repairs.repair
import slaf.targets.export
import slaf.verification.verify  # noqa: F401
import slaf_cli.app
import tests.builders  # noqa: F401

# It is imported, and not in use.
warnings.filterwarnings("ignore", "lance is not fork-safe")
slaf_cli.app.make_app()
