"""The format on disk: schemas, config.json, digests."""
