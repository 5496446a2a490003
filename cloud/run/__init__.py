"""Composition roots, one file a stage: the only place that knows which neighbours are real."""
