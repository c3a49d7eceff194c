"""Several inputs as one source."""
