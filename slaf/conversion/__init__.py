"""The verbs that write datasets."""
