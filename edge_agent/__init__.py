"""The edge agent: what runs on a hub, from a sensor message to a receipted batch."""
