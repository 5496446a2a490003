"""Every bound of the HTTP door."""

from typing import Final

IN_FLIGHT_MAX: Final = 256
CONNECTIONS_MAX: Final = 8  # to the database
WEBSOCKET_BYTES_MAX: Final = 4_096  # from a client; we have nothing to hear but its goodbye
SEND_TIMEOUT_S: Final = 10.0
CACHE_MAX_AGE_S: Final = 1

assert CONNECTIONS_MAX < IN_FLIGHT_MAX
