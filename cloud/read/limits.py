"""Every bound of the reading side, with the relations between them."""

from typing import Final

LATEST_TTL_MS: Final = 1_000
LATEST_ENTRIES_MAX: Final = 20_000  # some 500 bytes each

READINGS_PER_PAGE: Final = 10_000  # a day of 10 s windows is 8,640
READINGS_PER_PAGE_MAX: Final = 100_000  # a day at 1 Hz is 86,400
ROWS_PER_PAGE: Final = 100
ROWS_PER_PAGE_MAX: Final = 1_000

CLIENTS_MAX: Final = 1_000  # WebSockets at a time
CLIENT_QUEUE_MAX: Final = 256  # messages a client may lag behind
CHANGES_MAX: Final = 1_000  # alerts read again at once
NEWS_MAX: Final = 10_000  # notifications waiting for us
NEWS_MARGIN_MS: Final = 60_000  # how long a transaction may take from dating an alert to its commit

assert READINGS_PER_PAGE <= READINGS_PER_PAGE_MAX
assert READINGS_PER_PAGE >= 24 * 3_600 // 10
assert READINGS_PER_PAGE_MAX >= 24 * 3_600
