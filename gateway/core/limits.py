"""The gateway's own bounds, and how they relate to the wire's."""

from typing import Final

from wire.limits import BATCH_BYTES_MAX, CONTROL_BYTES_MAX, KIB, MIB

PACKET_BYTES_MAX: Final = BATCH_BYTES_MAX + 4 * KIB  # a full batch, its topic and its headers
CONNECT_BYTES_MAX: Final = 8 * KIB
CONNECTIONS_MAX: Final = 4_096
CONNECT_WITHIN_S: Final = 10.0
IN_FLIGHT_MAX: Final = 128  # sent to one subscriber, not yet acknowledged
ACKNOWLEDGE_WITHIN_S: Final = 30.0

STAGE_QUEUE_MESSAGES_MAX: Final = 65_536
STAGE_QUEUE_BYTES_MAX: Final = 256 * MIB
HUB_QUEUE_MESSAGES_MAX: Final = 256  # receipts: a hub that was away asks again with its hello
HUB_QUEUE_BYTES_MAX: Final = 1 * MIB

OFFLINE_BATCHES_MIN: Final = 8_192  # what a stage may miss while it restarts ...
OFFLINE_BATCH_BYTES: Final = 10 * KIB  # ... at the size an ordinary full batch has

assert STAGE_QUEUE_MESSAGES_MAX >= OFFLINE_BATCHES_MIN
assert STAGE_QUEUE_BYTES_MAX >= OFFLINE_BATCHES_MIN * OFFLINE_BATCH_BYTES
assert CONTROL_BYTES_MAX <= PACKET_BYTES_MAX
assert CONTROL_BYTES_MAX <= HUB_QUEUE_BYTES_MAX
assert IN_FLIGHT_MAX < 65_535  # packet identifiers are 16 bits
