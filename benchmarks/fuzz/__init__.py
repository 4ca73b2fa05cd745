"""Damaged files and specs by the thousand: ``python -m benchmarks.fuzz --seconds 60``."""
