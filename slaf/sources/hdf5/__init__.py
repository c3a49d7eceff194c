"""HDF5 files of strangers, read fast and within limits."""
