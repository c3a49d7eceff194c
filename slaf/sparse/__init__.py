"""Batches of sparse rows: casts, ranges, sorting."""
