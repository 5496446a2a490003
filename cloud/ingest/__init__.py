"""Ingest: batches become committed rows, then receipts."""
