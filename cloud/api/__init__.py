"""The HTTP door for readers: REST, WebSocket, metrics."""
