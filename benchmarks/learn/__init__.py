"""Train the model that ships, and say how well it does on water it has never seen."""
