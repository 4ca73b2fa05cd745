"""Representations that are not arrays in memory."""
