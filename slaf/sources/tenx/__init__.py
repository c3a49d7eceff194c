"""10x Genomics: HDF5 files and Matrix Market folders."""
