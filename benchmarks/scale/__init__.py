"""Benchmarks of layers larger than memory."""
