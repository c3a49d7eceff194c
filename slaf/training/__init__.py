"""Batches of cells for training, from the tables of a dataset."""
