"""Every failure the platform can name, in one small tree.

A caller decides what to do from two questions only: is it worth trying again
(``retryable``), and whose fault was it (the branch it sits on).
"""

from typing import ClassVar


class HeadgateError(Exception):
    """Root of every expected failure. A bug raises something else and crashes."""

    retryable: ClassVar[bool] = False


class PeerError(HeadgateError):
    """The other side sent something it should not have. Never retry."""


class MalformedBatchError(PeerError):
    """The bytes are not a batch we can read."""


class DamagedBatchError(MalformedBatchError):
    """A checksum or length does not hold: damage in transit, which a resend heals."""


class MalformedMessageError(PeerError):
    """The bytes are not the control message, or the sensor's message, this topic carries."""


class InfrastructureError(HeadgateError):
    """A neighbour (broker, database, disk) could not serve us just now."""

    retryable: ClassVar[bool] = True
