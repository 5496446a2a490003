"""Sensors that measure live: paced by the clock, disturbed by events, heard by their hubs."""
