"""Lance tables: the only modules that import lance."""
