"""zarr stores of strangers, read fast and within limits."""
