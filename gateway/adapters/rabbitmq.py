"""RabbitMQ's management API: the only module of the gateway that speaks HTTP to a broker."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import quote

import httpx2

from wire.errors import InfrastructureError

ANSWER_WITHIN_S: Final = 20.0
_SAID_CHARS_MAX: Final = 300
_GONE: Final = 404


class Management:
    """See ``cluster.ports.Management``."""

    def __init__(self, client: httpx2.AsyncClient, user: str) -> None:
        """Take a client that knows where the API is and speaks as this administrator."""
        self._client = client
        self.user = user

    async def definitions(self) -> Mapping[str, list[dict[str, Any]]]:
        """See ``Management``."""
        found: dict[str, list[dict[str, Any]]] = await self._get("definitions")
        return found

    async def define(self, definitions: Mapping[str, list[dict[str, Any]]]) -> None:
        """See ``Management``."""
        await self._ask("POST", "definitions", json=dict(definitions))

    async def listeners(self) -> list[dict[str, Any]]:
        """See ``Management``."""
        overview = await self._get("overview?columns=listeners")
        return list(overview["listeners"])

    async def nodes(self) -> list[dict[str, Any]]:
        """See ``Management``."""
        return list(await self._get("nodes?columns=name,running,partitions"))

    async def members(self, vhost: str) -> dict[str, list[str]]:
        """See ``Management``."""
        found = await self._get(f"queues/{_part(vhost)}?columns=name,members")
        return {each["name"]: each.get("members", []) for each in found}

    async def shut_out(self, vhost: str, user: str) -> None:
        """See ``Management``."""
        await self._ask("DELETE", f"permissions/{_part(vhost)}/{_part(user)}")

    async def hang_up(self, user: str) -> int:
        """See ``Management``."""
        path = f"connections/username/{_part(user)}"
        found = await self._get(path)
        if found:
            await self._ask("DELETE", path)
        return len(found)

    async def forget(self, user: str) -> None:
        """See ``Management``."""
        await self._ask("DELETE", f"users/{_part(user)}")

    async def _get(self, path: str) -> Any:
        return (await self._ask("GET", path)).json()

    async def _ask(self, method: str, path: str, json: Any = None) -> httpx2.Response:
        try:
            answer = await self._client.request(method, path, json=json)
            if not (method == "DELETE" and answer.status_code == _GONE):
                answer.raise_for_status()
        except httpx2.HTTPStatusError as exc:
            said = exc.response.text[:_SAID_CHARS_MAX]
            raise InfrastructureError(
                f"management API: {exc.response.status_code} to {method} {path}: {said}"
            ) from exc
        except httpx2.HTTPError as exc:
            raise InfrastructureError(f"management API: {type(exc).__name__}: {exc}") from exc
        return answer


@asynccontextmanager
async def management(
    url: str, user: str, password: str, authority: ssl.SSLContext | None = None
) -> AsyncIterator[Management]:
    """Lend the API at ``https://host:port``, or ``http://`` on this machine."""
    async with httpx2.AsyncClient(
        base_url=f"{url.rstrip('/')}/api/",
        auth=(user, password),
        timeout=ANSWER_WITHIN_S,
        verify=authority or True,
        trust_env=False,
    ) as client:
        yield Management(client, user)


def _part(name: str) -> str:
    return quote(name, safe="")
