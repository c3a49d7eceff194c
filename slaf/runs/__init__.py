"""A run: plan, parts, publication."""
