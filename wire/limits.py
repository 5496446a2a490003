"""Every bound both shores share, side by side, with the relations between them asserted."""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

NAME_CHARS_MAX: Final = 64
SENSOR_ID_MAX: Final = 2**63 - 1
EPOCH_BITS: Final = 63
SEQUENCE_MAX: Final = 2**53  # exact in a JSON number, should one ever carry it
TIME_MS_MAX: Final = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z
SAMPLES_MAX: Final = 2**31 - 1

READINGS_PER_BATCH_MAX: Final = 1_000
BATCH_BYTES_MAX: Final = 256 * KIB
HEADER_BYTES_MAX: Final = 2 * KIB
CONTROL_BYTES_MAX: Final = 64 * KIB

SENSOR_MESSAGE_BYTES_MAX: Final = 64 * KIB
READINGS_PER_SENSOR_MESSAGE_MAX: Final = 1_000

RANGES_PER_RECEIPT_MAX: Final = 64
RANGES_PER_EPOCH_MAX: Final = 1_024  # more holes than this in one epoch is a sick or hostile hub
EPOCHS_PER_HELLO_MAX: Final = 48
REASON_CHARS_MAX: Final = 200

SENSOR_RATE_PER_S: Final = 1.0
SENSOR_BURST: Final = 2
RESEND_AFTER_MS: Final = 10_000
RESEND_AFTER_MS_MAX: Final = 600_000
FUTURE_MS_MAX: Final = 86_400_000  # months exist for [now - retention, now + 1 day]

_WIDEST_ROW_BYTES: Final = 8 + 8 + 2 + 1 + 4 + 32 * (4 + 1)  # ids, time, marks, 32 metrics + bitmap
# A full batch must fit its frame even when nothing compresses.
assert READINGS_PER_BATCH_MAX * _WIDEST_ROW_BYTES + HEADER_BYTES_MAX <= BATCH_BYTES_MAX
# A receipt and a hello must fit the control frame: two 9-byte bounds and a list head per range.
assert 2 * RANGES_PER_RECEIPT_MAX * 19 + 256 <= CONTROL_BYTES_MAX
assert EPOCHS_PER_HELLO_MAX * (RANGES_PER_RECEIPT_MAX * 19 + 24) <= CONTROL_BYTES_MAX
# What one receipt can name must be far less than what a hub may leave open.
assert RANGES_PER_RECEIPT_MAX < RANGES_PER_EPOCH_MAX
assert RESEND_AFTER_MS < RESEND_AFTER_MS_MAX
assert SENSOR_BURST >= SENSOR_RATE_PER_S
