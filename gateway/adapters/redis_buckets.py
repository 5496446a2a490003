"""Buckets every door shares, in Redis or Valkey: one script call for many messages.

All keys carry one hash tag, so in a cluster of Redis they lie on one node: a script decides alone.
"""

import asyncio
from collections.abc import Sequence
from importlib.resources import files
from typing import Final

import numpy as np
import redis.asyncio
from numpy.typing import NDArray
from redis.exceptions import RedisError

from gateway.core.buckets import COST_MS, LATE_SLACK_MS, SLACK_MS
from wire.errors import InfrastructureError

ANSWER_WITHIN_S: Final = 0.25
KEPT_MS: Final = 60_000  # a full bucket; longer than anybody's clock may disagree
SERVER_TIME: Final = -1
_SCRIPT: Final = files("gateway.adapters").joinpath("redis_buckets.lua").read_text()


class RedisBuckets:
    """See ``gateway.ports.Buckets``. Time is the server's, since doors' clocks disagree."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        within_s: float,
        tag: str = "bucket",
        slack_ms: int = SLACK_MS,
    ) -> None:
        """Take a client, which connects when it is first used, and which buckets these are."""
        self._client, self._within_s = client, within_s
        self._tag, self._slack_ms = tag, slack_ms
        self._script = client.register_script(_SCRIPT)

    @classmethod
    def at(cls, url: str, within_s: float = ANSWER_WITHIN_S) -> "RedisBuckets":
        """Return the buckets at ``redis://host:port/number``, or ``rediss://``.

        Args:
            url: Of the server.
            within_s: How long to wait for an answer.
        """
        client = redis.asyncio.Redis.from_url(
            url, socket_timeout=within_s, socket_connect_timeout=within_s
        )
        return cls(client, within_s)

    def late(self) -> "RedisBuckets":
        """Return the buckets of what was said long before it came; close the first of both."""
        return RedisBuckets(self._client, self._within_s, "late", LATE_SLACK_MS)

    async def take(
        self, messages: Sequence[NDArray[np.int64]], at_ms: int = SERVER_TIME
    ) -> list[int]:
        """See ``gateway.ports.Buckets``; ``at_ms`` replaces the server's time."""
        keys: list[str] = []
        arguments: list[int] = [at_ms, COST_MS, self._slack_ms, KEPT_MS]
        for sensor_ids in messages:
            sensors, counts = np.unique(sensor_ids, return_counts=True)
            keys += [f"{{{self._tag}}}:{sensor_id}" for sensor_id in sensors.tolist()]
            arguments += [len(sensors), *counts.tolist()]
        try:
            async with asyncio.timeout(self._within_s):
                return [int(wait) for wait in await self._script(keys=keys, args=arguments)]
        except (RedisError, OSError, TimeoutError) as exc:
            raise InfrastructureError(f"redis: {type(exc).__name__} {exc}".strip()) from exc

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()
