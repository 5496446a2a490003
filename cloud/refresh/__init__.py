"""Refresh: what hubs say of themselves, kept up to date."""
