"""Floods of sealed batches, as from many hubs at once: what the cloud is measured with."""
