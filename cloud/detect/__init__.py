"""Detect: batches become findings, from the broker for speed, from the store for certainty."""
