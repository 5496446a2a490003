"""The hub's decisions: pure, without clock, chance or I/O."""
