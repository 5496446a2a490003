"""What simulated water is and what became of its readings: pure, columns, no I/O."""
