"""Published datasets, read lazily."""
