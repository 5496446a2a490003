"""headgate.prove.command: what could not be started is said in words, whatever stood around it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from headgate.prove.account import Account
from headgate.prove.command import Proof, until_interrupted
from headgate.prove.prove import Wish
from headgate.prove.river import Flood
from headgate.stack.errors import StackError

WISH = Wish(1.0, 1, Flood(1, 1, 1.0))
NO_SERVER = StackError("no RabbitMQ on this machine", hint="type `make servers`")


def quiet(line: str) -> None:
    """Say nothing."""


def failing(failure: Exception) -> Proof:
    async def proof(wish: Wish, home: Path, tell: Callable[[str], None]) -> Account:
        raise failure

    return proof


async def test_what_could_not_be_started_is_found_inside_the_groups_of_tasks_around_it() -> None:
    nested = ExceptionGroup("links", [ExceptionGroup("links", [NO_SERVER])])
    with pytest.raises(StackError) as raised:
        await until_interrupted(failing(nested), WISH, Path(), quiet)
    assert raised.value is NO_SERVER


async def test_a_bug_beside_it_is_not_hidden() -> None:
    mixed = ExceptionGroup("links", [NO_SERVER, LookupError("a bug")])
    with pytest.raises(ExceptionGroup) as raised:
        await until_interrupted(failing(mixed), WISH, Path(), quiet)
    assert raised.value is mixed
