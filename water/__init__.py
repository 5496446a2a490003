"""What we know about water: bands, screening, and what a finding is."""
