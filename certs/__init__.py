"""Keys and certificates. Code only: key material lives in the data directory."""
