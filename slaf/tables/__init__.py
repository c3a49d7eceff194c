"""Lance tables; only these modules import lance."""

from slaf.runtime.imports import import_at_once
from slaf.runtime.pandas_on_demand import import_pandas_on_demand

import_pandas_on_demand()
import_at_once("lance")
