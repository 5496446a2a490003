"""The oracle: reads what was made, asks what is stored, names every difference."""
