"""The gateway's neighbours: identity files and the broker library."""
