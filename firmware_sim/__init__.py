"""Simulated water, sensors and fleets, and the oracle that counts what became of them."""
