"""TileDB-SOMA experiments."""

from slaf.runtime.anndata_on_demand import import_anndata_on_demand

import_anndata_on_demand()
