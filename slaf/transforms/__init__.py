"""Transforms: what is done to cells, genes and values, as a stream of batches."""
