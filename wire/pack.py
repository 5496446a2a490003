"""msgpack with every bound set: the only module that knows msgpack exists."""

from collections.abc import Callable
from typing import Any, Final

import msgpack

UNPACKABLE: Final = (ValueError, RecursionError, msgpack.UnpackException)
"""All that ``unpack`` raises on hostile bytes."""

ITEMS_MAX: Final = 16_384


def pack(value: Any) -> bytes:
    """Return ``value`` as msgpack."""
    return msgpack.packb(value)  # type: ignore[no-any-return]


def unpack(
    body: bytes,
    *,
    bytes_max: int,
    object_of: Callable[[list[tuple[Any, Any]]], dict[Any, Any]] | None = None,
) -> Any:
    """Return the one value in ``body``, whose shape the caller must still check.

    Args:
        body: The bytes.
        bytes_max: How many of them are read at most.
        object_of: Makes a map of its pairs; by default the last of two like keys wins.

    Raises:
        ValueError: It is longer than ``bytes_max``.
        UNPACKABLE: It is no single value within the bounds.
    """
    if len(body) > bytes_max:
        raise ValueError(f"{len(body)} bytes exceeds {bytes_max}")
    return msgpack.unpackb(
        body,
        raw=False,
        strict_map_key=True,
        max_str_len=bytes_max,
        max_bin_len=bytes_max,
        max_array_len=ITEMS_MAX,
        max_map_len=ITEMS_MAX,
        max_ext_len=0,
        object_pairs_hook=object_of,
    )
