"""Verification of a dataset against its digests, its inputs or another dataset."""
