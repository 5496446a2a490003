"""The API over a real PostgreSQL, a real uvicorn and a real socket."""

import asyncio
import csv
import io
import time
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from cloud.api import shapes
from cloud.api.problem import Problem
from tests.support.api import (
    NOON,
    add_batch,
    add_ledger,
    add_readings,
    add_sensor,
    add_site,
    connected,
    open_alert,
    running_api,
)
from tests.support.wait import until

SENSOR = 9_007_199_254_740_993  # wider than a double


def problem_of(answer: Any, status: int) -> Problem:
    """Return the answer as the problem it must be."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found = Problem.model_validate_json(answer.content, strict=True)
    assert found.status == status
    return found


@pytest.mark.spec("E2", "I4")
async def test_latest_is_spelled_as_the_customer_asked_and_rounded(database_url: str) -> None:
    async with connected(database_url) as database, running_api(database_url) as api:
        await add_sensor(database, SENSOR)
        await add_readings(database, SENSOR, NOON, 4, 10)
        answer = await api.get("/api/sensors/latest", params={"sensor_id": SENSOR})
        assert answer.status_code == 200
        assert answer.json() == {
            "pH": 7.103,
            "temp": 15.03,
            "timestamp": "2026-11-20T12:00:30Z",
            "turbidity": 0.018,
            "conductivity": 150000.1,
            "quality": ["late", "spike"],
            "score": 0.02,
            "samples": 10,
        }
        shapes.Latest.model_validate_json(answer.content, strict=True)
        again = await api.get(
            "/api/sensors/latest",
            params={"sensor_id": SENSOR},
            headers={"If-None-Match": answer.headers["etag"]},
        )
        assert (again.status_code, again.content) == (304, b"")


async def test_latest_follows_the_store_within_a_second(database_url: str) -> None:
    async with connected(database_url) as database, running_api(database_url) as api:
        await add_readings(database, 1, NOON, 1, 10)
        before = (await api.get("/api/sensors/latest?sensor_id=1")).json()
        await add_readings(database, 1, NOON + timedelta(seconds=10), 1, 10)

        async def newer() -> bool:
            return bool((await api.get("/api/sensors/latest?sensor_id=1")).json() != before)

        followed: bool = await until(newer, within_s=1.5)
        assert followed


async def test_unknown_things_are_problems(database_url: str) -> None:
    async with connected(database_url) as database, running_api(database_url) as api:
        await add_sensor(database, 2)
        unknown = problem_of(await api.get("/api/sensors/latest?sensor_id=1"), 404)
        assert unknown.detail == "no sensor 1 is known"
        silent = problem_of(await api.get("/api/sensors/latest?sensor_id=2"), 404)
        assert silent.detail == "sensor 2 has sent nothing yet"
        problem_of(await api.get("/api/sensors/1/readings"), 404)
        problem_of(await api.get("/api/alerts/1"), 404)
        problem_of(await api.get("/nothing"), 404)
        problem_of(await api.post("/api/alerts"), 405)
        nothing = await api.get("/api/sensors/2/readings")
        assert nothing.json()["readings"] == []


@pytest.mark.spec("O4")
async def test_a_day_of_history_comes_whole_through_pages(database_url: str) -> None:
    async with connected(database_url) as database, running_api(database_url) as api:
        await add_sensor(database, 5)
        await add_readings(database, 5, NOON, 8_640, 10)
        url: str | None = f"/api/sensors/5/readings?from={NOON:%Y-%m-%dT%H:%M:%SZ}&limit=2500"
        url = f"{url}&to={NOON + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
        whole = (await api.get(url.replace("limit=2500", "limit=8640"))).json()
        shapes.History.model_validate(whole)
        seen = []
        pages = 0
        while url is not None:
            answer = await api.get(url)
            seen += answer.json()["readings"]
            pages += 1
            url = answer.links["next"]["url"] if "next" in answer.links else None
        assert pages == 4
        assert seen == whole["readings"]
        assert len({row["timestamp"] for row in seen}) == 8_640


async def test_history_is_csv_when_asked(database_url: str) -> None:
    async with connected(database_url) as database, running_api(database_url) as api:
        await add_readings(database, 5, NOON, 5, 0.5)
        params = {"from": NOON.isoformat(), "to": (NOON + timedelta(days=1)).isoformat()}
        answer = await api.get(
            "/api/sensors/5/readings", params=params, headers={"Accept": "text/csv"}
        )
        assert answer.headers["content-type"].startswith("text/csv")
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert len(rows) == 5
        assert rows[3]["timestamp"] == "2026-11-20T12:00:01.500Z"
        assert rows[3]["quality"] == "late spike"
        assert (rows[3]["ph_level"], rows[3]["orp"]) == ("7.103", "")
        by_format = await api.get("/api/sensors/5/readings", params={**params, "format": "csv"})
        assert by_format.text == answer.text


@pytest.mark.parametrize(
    "query",
    [
        "from=2026-11-20T12:00:00",
        "limit=0",
        "from=9999-12-31T23:59:59-12:00",
        "format=xml",
        "from=2026-11-21T00:00:00Z&to=2026-11-20T00:00:00Z",
    ],
)
async def test_a_wrong_parameter_is_a_problem(database_url: str, query: str) -> None:
    async with running_api(database_url) as api:
        problem_of(await api.get(f"/api/sensors/5/readings?{query}"), 422)


@pytest.mark.spec("E5")
async def test_alerts_carry_place_explanation_and_hops(database_url: str) -> None:
    async with connected(database_url) as database, running_api(database_url) as api:
        site = await add_site(database)
        await add_sensor(database, 5, site_id=site)
        await add_sensor(database, 6, region="west")
        await add_batch(database, 3)
        mine = await open_alert(database, 5, sequence=3)
        await open_alert(database, 6)
        answer = await api.get("/api/alerts", params={"region": "East Coast"})
        shapes.AlertList.model_validate_json(answer.content, strict=True)
        (alert,) = answer.json()["alerts"]
        assert alert["alert_id"] == str(mine)
        assert alert["site"] == {"site_id": str(site), "name": "Intake 4"}
        assert alert["explanation"] == {"value": 9.1, "low": 6.5, "high": 8.5}
        assert alert["latency_ms"]["observed_to_stored"] == 90.0
        assert (await api.get(f"/api/alerts/{mine}")).json() == alert
        first = await api.get("/api/alerts?limit=1")
        second = await api.get(first.links["next"]["url"])
        assert [page.json()["alerts"][0]["sensor_id"] for page in (first, second)] == ["6", "5"]


async def test_sites_are_geojson_with_their_worst_alert(database_url: str) -> None:
    async with connected(database_url) as database, running_api(database_url) as api:
        site = await add_site(database)
        await add_site(database, "Unplaced", None)
        await add_sensor(database, 5, site_id=site)
        await open_alert(database, 5)
        worst = await open_alert(database, 5, cause="lead_high", severity=5)
        answer = await api.get("/api/sites")
        assert answer.headers["content-type"] == "application/geo+json"
        shapes.Sites.model_validate_json(answer.content, strict=True)
        placed, unplaced = answer.json()["features"]
        assert placed["geometry"] == {"type": "Point", "coordinates": [-73.97, 40.78]}
        assert placed["properties"]["sensors"] == 1
        assert placed["properties"]["worst_alert"]["alert_id"] == str(worst)
        assert unplaced["geometry"] is None
        assert unplaced["properties"]["worst_alert"] is None


async def test_gaps_page_and_name_their_cause(database_url: str) -> None:
    async with connected(database_url) as database, running_api(database_url) as api:
        await add_ledger(database, "{[0,3),[5,6)}", 9, shed="{[1,2)}")
        await add_batch(database, 2)
        answer = await api.get("/api/gaps")
        shapes.GapList.model_validate_json(answer.content, strict=True)
        gaps = answer.json()["gaps"]
        assert [(g["from_sequence"], g["to_sequence"], g["cause"]) for g in gaps] == [
            (1, 2, "shed"),
            (3, 5, "pending"),
            (6, 9, "pending"),
        ]
        assert gaps[1]["since"] == "2026-11-20T12:00:00.090Z"
        assert gaps[0]["epoch"] == "7"
        seen, url = [], "/api/gaps?limit=1&hub_id=hub-1"
        while url:
            page = await api.get(url)
            seen += page.json()["gaps"]
            url = page.links["next"]["url"] if "next" in page.links else ""
        assert seen == gaps


@pytest.mark.spec("E9", "O2")
async def test_status_counts_the_stages_at_work(database_url: str) -> None:
    async with running_api(database_url) as api:
        stopped = await api.get("/api/status")
        assert stopped.json() == {"status": "degraded", "db": "connected", "workers": "stopped"}
        stages = [
            await asyncpg.connect(
                database_url, server_settings={"application_name": f"headgate-{stage}-0"}
            )
            for stage in ("ingest", "detect", "alert", "refresh")
        ]
        running = await api.get("/api/status")
        assert running.json() == {"status": "healthy", "db": "connected", "workers": "running"}
        await stages.pop().close()

        async def partial() -> bool:
            return bool((await api.get("/api/status")).json()["workers"] == "partial")

        seen: bool = await until(partial)
        assert seen
        for stage in stages:
            await stage.close()


async def test_without_a_database_the_process_lives_and_says_so() -> None:
    async with running_api("postgresql://nobody@127.0.0.1:1/none") as api:
        assert (await api.get("/livez")).json() == {"status": "live"}
        problem_of(await api.get("/readyz"), 503)
        status = await api.get("/api/status")
        assert status.status_code == 503
        assert status.json() == {
            "status": "unhealthy",
            "db": "disconnected",
            "workers": "unknown",
        }
        away = await api.get("/api/sensors/latest?sensor_id=1")
        assert problem_of(away, 503).instance == "/api/sensors/latest"
        assert away.headers["retry-after"] == "1"
        assert "headgate_database_up 0.0" in (await api.get("/metrics")).text


async def test_metrics_hold_what_only_the_database_knows(database_url: str) -> None:
    async with connected(database_url) as database, running_api(database_url) as api:
        await add_sensor(database, 5)
        await open_alert(database, 5)
        await add_ledger(database, "{[0,3)}", 9)
        text = (await api.get("/metrics")).text
        assert 'headgate_open_alerts{kind="contamination",severity="3"} 1.0' in text
        assert 'headgate_missing_batches{region="east-coast"} 6.0' in text
        assert "headgate_database_up 1.0" in text


@pytest.mark.spec("O4")
async def test_a_day_of_one_sensor_takes_less_than_a_second(database_url: str) -> None:
    async with connected(database_url) as database, running_api(database_url) as api:
        await add_readings(database, 5, NOON, 8_640, 10)
        params = {"from": NOON.isoformat(), "to": (NOON + timedelta(days=1)).isoformat()}
        took_s = []
        for _ in range(3):  # the best of three: others use this machine too
            began = time.monotonic()
            answer = await api.get("/api/sensors/5/readings", params=params)
            took_s.append(time.monotonic() - began)
            assert answer.text.count('"timestamp"') == 8_640
        assert min(took_s) < 1.0, took_s


async def test_a_raw_day_at_one_hertz_fits_one_page(database_url: str) -> None:
    async with connected(database_url) as database, running_api(database_url) as api:
        await add_readings(database, 5, NOON, 86_400, 1, samples=1)
        params = {"from": NOON.isoformat(), "to": (NOON + timedelta(days=1)).isoformat()}
        params["limit"] = "86400"
        answer = await api.get("/api/sensors/5/readings", params=params, timeout=60)
        assert answer.text.count('"timestamp"') == 86_400
        assert "link" not in answer.headers


async def test_a_long_answer_lets_others_speak(database_url: str) -> None:
    async with connected(database_url) as database, running_api(database_url) as api:
        await add_readings(database, 5, NOON, 40_000, 1)
        params = {"from": NOON.isoformat(), "to": (NOON + timedelta(days=1)).isoformat()}
        params["limit"] = "100000"
        async with asyncio.TaskGroup() as group:
            long = group.create_task(api.get("/api/sensors/5/readings", params=params))
            answered = 0
            while not long.done():
                assert (await api.get("/livez")).status_code == 200
                answered += 1
        assert answered >= 5
