"""What a user would build instead, built small and faithfully, and measured beside us."""
