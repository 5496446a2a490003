"""Recorded water, said again: real files through real hubs, at the files' own times."""
