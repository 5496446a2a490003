"""Ways in that authenticate and admit."""
