"""Directories and buckets behind one interface: locations of datasets, paths of inputs."""
