"""What the gateway decides: who may say what, how much, and what waits for whom. No I/O."""
