"""What the door refuses before anything is routed, and where it may stand."""

import pytest
from starlette.types import Receive, Scope, Send

from cloud.api.bind import listening, loopback
from cloud.api.guard import Guard
from cloud.core.errors import OperatorError
from cloud.read.status import judge


async def ask(method: str = "GET", **headers: str) -> int:
    """Return the status the guard answers; 204 is the application's."""
    statuses: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        statuses.append(204)

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        statuses.append(message.get("status", 0))

    async def receive() -> dict[str, str]:
        return {"type": "http.request"}

    pairs = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    scope = {"type": "http", "method": method, "path": "/", "headers": pairs}
    await Guard(app)(scope, receive, send)
    return statuses[0]


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080"])
async def test_names_of_this_machine_are_served(host: str) -> None:
    assert await ask(host=host) == 204


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "[::1", ""]
)
async def test_other_names_are_not_so_that_no_page_can_rebind_its_own(host: str) -> None:
    assert await ask(host=host) == 421


async def test_a_body_on_a_get_is_refused() -> None:
    assert await ask(host="localhost", content_length="2") == 400
    assert await ask(host="localhost", transfer_encoding="chunked") == 400
    assert await ask(host="localhost", content_length="0") == 204
    assert await ask("POST", host="localhost", content_length="2") == 204


@pytest.mark.parametrize("bind", ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:8080"])
def test_an_address_others_can_reach_is_refused_because_nobody_signs_in(bind: str) -> None:
    with pytest.raises(OperatorError, match="no sign-in yet"):
        loopback(bind)


@pytest.mark.parametrize("bind", ["localhost:8080", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:x"])
def test_an_address_that_is_none_is_refused(bind: str) -> None:
    with pytest.raises(OperatorError, match="HEADGATE_API_BIND"):
        loopback(bind)


def test_loopback_is_accepted_and_a_taken_port_is_said_to_be() -> None:
    assert loopback("[::1]:8080") == ("::1", 8080)
    with listening("127.0.0.1", 0) as taken, pytest.raises(OperatorError, match="cannot listen"):
        listening("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize(
    ("stages", "workers", "status"),
    [
        (("ingest", "detect", "alert", "refresh"), "running", "healthy"),
        (("ingest", "detect", "alert"), "partial", "degraded"),
        ((), "stopped", "degraded"),
        (("api",), "stopped", "degraded"),
    ],
)
def test_workers_run_only_if_every_stage_is_at_work(
    stages: tuple[str, ...], workers: str, status: str
) -> None:
    said = judge({f"headgate-{stage}-0": 0.0 for stage in stages})
    assert said == {"status": status, "db": "connected", "workers": workers}


@pytest.mark.parametrize(("silent_s", "said"), [(15.0, "running"), (15.1, "partial")])
def test_one_silent_worker_of_a_stage_is_enough_to_say_so(silent_s: float, said: str) -> None:
    heard = {f"headgate-{stage}-0": 1.0 for stage in ("ingest", "detect", "alert", "refresh")}
    assert judge(heard | {"headgate-ingest-1": silent_s, "strange": 99.0})["workers"] == said
