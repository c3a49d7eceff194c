"""Lance tables; only these modules import lance."""
