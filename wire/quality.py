"""Marks a reading carries about itself. Append only: the bits are on the wire and in tables."""

from enum import IntFlag


class Quality(IntFlag):
    """What is known against a reading. 0 is a plain good one. Fits a signed 16-bit column."""

    GOOD = 0
    LATE = 1  # arrived after its window was emitted; travels as its own row
    REFUSED_VALUE = 2  # a physically impossible value was made absent
    FLAT = 4  # a metric has not moved by a step for longer than its probe can stand still
    SPIKE = 8  # a metric jumped and came straight back
    RATE = 16  # a metric moved faster than water does
    TIME_SUSPECT = 32  # the hub's clock was later found to have been wrong here
    OUT_OF_BAND = 64  # the hub saw a value outside its healthy band
    SUMMARY = 128  # stands for several readings that were thinned to save room


QUALITY_MAX = 2**15 - 1
assert sum(Quality) <= QUALITY_MAX
