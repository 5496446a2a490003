"""The description: complete, and its examples are true."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from cloud.api import dead_letters, shapes
from cloud.api.app import Neighbours, application
from cloud.api.problem import Problem
from cloud.read.feed import Feed
from tests.unit.cloud.test_read_feed import Book, Clock, Wire
from tests.unit.cloud.test_read_latest import Shelf

OPERATIONS = {
    "/api/sensors/latest": "getLatest",
    "/api/sensors/{sensor_id}/readings": "getReadings",
    "/api/alerts": "listAlerts",
    "/api/alerts/{alert_id}": "getAlert",
    "/api/sites": "listSites",
    "/api/gaps": "listGaps",
    "/api/dead-letters": "listDeadLetters",
    "/api/dead-letters/{letter_id}": "getDeadLetter",
    "/api/status": "getStatus",
    "/livez": "isLive",
    "/readyz": "isReady",
    "/metrics": "getMetrics",
}
SHAPES = [
    shapes.Latest,
    shapes.History,
    shapes.Alert,
    shapes.AlertList,
    shapes.Gap,
    shapes.GapList,
    shapes.Status,
    shapes.Live,
    shapes.Sites,
    *dead_letters.SHAPES,
    Problem,
]


class Nothing:
    """A platform without anything in it; a bug waits in its sites."""

    async def sites(self, after: int, limit: int) -> list[Any]:
        raise KeyError("a bug")

    async def ping(self) -> None: ...

    async def workers(self) -> dict[str, float]:
        return {}

    async def figures(self) -> list[Any]:
        return []

    async def page(self, *_: object) -> list[Any]:
        return []

    async def one(self, letter_id: int) -> None:
        return None

    async def holes(self, hub_id: object, after: object, limit: int) -> list[Any]:
        return []


@pytest.fixture
async def api() -> AsyncIterator[httpx2.AsyncClient]:
    feed = Feed(Book(), Wire(), Clock())
    app = application(
        Neighbours(Shelf(), Book(), feed, Nothing(), Nothing(), Nothing(), lambda: b"", Clock())
    )
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def test_every_operation_is_named_and_described_with_its_failures(
    api: httpx2.AsyncClient,
) -> None:
    described = (await api.get("/openapi.json")).json()
    assert described["openapi"].startswith("3.1")
    assert "no sign-in yet" in described["info"]["description"]
    found = {path: item["get"]["operationId"] for path, item in described["paths"].items()}
    assert found == OPERATIONS
    for path, item in described["paths"].items():
        assert item["get"]["summary"]
        for status, response in item["get"]["responses"].items():
            if int(status) >= 400 and path != "/api/status":
                assert list(response["content"]) == ["application/problem+json"], (path, status)


MEDIA = {
    "/api/sensors/{sensor_id}/readings": {"application/json", "text/csv"},
    "/api/sites": {"application/geo+json"},
    "/metrics": {"text/plain"},
}


async def test_every_answer_names_its_media_type_and_shows_an_example(
    api: httpx2.AsyncClient,
) -> None:
    described = (await api.get("/openapi.json")).json()
    schemas = described["components"]["schemas"]
    for path, item in described["paths"].items():
        content = item["get"]["responses"]["200"]["content"]
        assert content.keys() == MEDIA.get(path, {"application/json"}), path
        for media in content.values():
            name = media.get("schema", {}).get("$ref", "").rpartition("/")[2]
            assert "example" in media or "example" in schemas[name], path


async def test_every_parameter_is_described_with_an_example_it_accepts(
    api: httpx2.AsyncClient,
) -> None:
    described = (await api.get("/openapi.json")).json()
    shown: dict[str, dict[str, Any]] = {}
    for path, item in described["paths"].items():
        for parameter in item["get"].get("parameters", ()):
            where = f"{path} {parameter['name']}"
            assert parameter.get("description"), where
            assert parameter["schema"].get("examples"), where
            shown.setdefault(path, {})[parameter["name"]] = parameter["schema"]["examples"][0]
    for path, examples in shown.items():
        query = {name: value for name, value in examples.items() if f"{{{name}}}" not in path}
        answer = await api.get(path.format(**examples), params=query)
        assert answer.status_code != 422, (path, answer.text)


async def test_metrics_are_of_the_media_type_described(api: httpx2.AsyncClient) -> None:
    answer = await api.get("/metrics")
    assert answer.headers["content-type"].split(";")[0] in MEDIA["/metrics"]


async def test_every_reference_leads_somewhere(api: httpx2.AsyncClient) -> None:
    described = (await api.get("/openapi.json")).json()
    known = {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}
    assert set(_references(described)) <= known


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [each for child in node.values() for each in _references(child)]
    if isinstance(node, list):
        return [each for child in node for each in _references(child)]
    return []


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_an_example_is_of_the_shape_it_shows(shape: Any) -> None:
    shape.model_validate(shape.model_config["json_schema_extra"]["example"], strict=True)


async def test_no_page_of_documentation_pulls_scripts_from_elsewhere(
    api: httpx2.AsyncClient,
) -> None:
    assert (await api.get("/docs")).status_code == 404
    assert (await api.get("/redoc")).status_code == 404
    assert (await api.get("/")).json() == {"openapi": "/openapi.json"}


async def test_a_bug_is_a_problem_that_tells_nothing_of_us(api: httpx2.AsyncClient) -> None:
    answer = await api.get("/api/sites")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "a bug" not in answer.text


async def test_a_region_is_found_by_the_name_people_write(api: httpx2.AsyncClient) -> None:
    assert (await api.get("/api/alerts", params={"region": "East Coast"})).status_code == 200
    refused = await api.get("/api/alerts", params={"region": "East/Coast"})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["parameter"] == "region"
