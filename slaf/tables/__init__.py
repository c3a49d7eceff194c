"""Lance tables; only these modules import lance."""

from slaf.runtime.pandas_on_demand import import_pandas_on_demand

import_pandas_on_demand()
