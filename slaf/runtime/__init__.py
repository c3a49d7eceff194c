"""Threads, memory, progress, cancellation."""
