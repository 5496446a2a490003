"""The real neighbours: MQTT, PostgreSQL, files."""
