"""Repair of damaged datasets."""
