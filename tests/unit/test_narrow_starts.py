"""What a program imports is what its restart costs: each role does without what it does not use."""

import subprocess
import sys

import pytest

_COMMAND_LINES = {"typer", "rich", "click"}
_STAGE = _COMMAND_LINES | {"pydantic", "pydantic_settings", "fastapi", "uvicorn", "cryptography"}


@pytest.mark.parametrize(
    ("imports", "without"),
    [
        ("cloud.__main__, cloud.run.service, cloud.run.ingest", _STAGE),
        ("cloud.__main__, cloud.run.service, cloud.run.detect", _STAGE),
        ("cloud.__main__, cloud.run.service, cloud.run.alert", _STAGE),
        ("cloud.__main__, cloud.run.service, cloud.run.refresh", _STAGE),
        ("cloud.__main__, cloud.run.service, cloud.run.schema", _STAGE | {"numpy", "aiomqtt"}),
        (
            "cloud.__main__, cloud.run.service, cloud.run.api",
            _COMMAND_LINES - {"click"} | {"aiomqtt"},
        ),
        ("gateway.run", _STAGE | {"numpy", "asyncpg", "aio_pika"}),
        ("gateway.__main__, gateway.adapters.identities", {"numpy", "amqtt", "pydantic"}),
        ("edge_agent.run", _COMMAND_LINES | {"cryptography", "asyncpg", "fastapi"}),
        ("headgate.cli", {"asyncio", "numpy", "rich", "structlog", "pydantic"}),
    ],
)
def test_a_role_imports_nothing_it_does_not_use(imports: str, without: set[str]) -> None:
    code = (
        f"import sys; sys.modules.setdefault('rich', None); import {imports}; print(*sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert set(answer.stdout.split()) & (without - {"rich"}) == set()
