"""The page that describes a dataset, and the same figures for MultiQC."""
