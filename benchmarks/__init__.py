"""Benchmarks: one file, one question; each prints its target and what it measured."""
