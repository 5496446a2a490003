"""The literal design: one POST a reading, one Celery task through RabbitMQ, one INSERT.

Run in the rivals' own environment: ``uvicorn literal:app`` and ``celery -A literal:queue worker``.
"""

import os
from typing import Any

import psycopg  # type: ignore[import-not-found]
from celery import Celery  # type: ignore[import-not-found]
from fastapi import FastAPI
from pydantic import BaseModel

INSERT = (
    "insert into rival_readings (sensor_id, timestamp, ph_level, temperature, turbidity,"
    " conductivity) values (%(sensor_id)s, %(timestamp)s, %(pH)s, %(temp)s, %(turbidity)s,"
    " %(conductivity)s)"
)

queue = Celery("literal", broker=os.environ["RIVAL_BROKER"])
queue.conf.task_ignore_result = True
app = FastAPI()
connections: list[Any] = []  # one a worker process


class Reading(BaseModel):
    """What a sensor posts."""

    sensor_id: int
    pH: float  # the sensors' spelling
    temp: float
    turbidity: float
    conductivity: float
    timestamp: str


def store(reading: dict[str, Any]) -> None:
    """Insert one reading, in a transaction of its own."""
    if not connections:
        connections.append(psycopg.connect(os.environ["RIVAL_DATABASE"], autocommit=True))
    connections[0].execute(INSERT, reading)


store_task = queue.task(store, name="store")


@app.post("/api/sensors/data", status_code=202)
async def take(reading: Reading) -> dict[str, str]:
    """Queue one reading."""
    store_task.delay(reading.model_dump())
    return {"status": "accepted"}
