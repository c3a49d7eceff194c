"""Proof: a dataset against its digests and against its inputs."""
