"""The dlq command."""

import argparse
import os
import pwd
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from random import Random
from typing import Any, Final

from cloud.adapters.postgres.dead_letters import LetterReads, PostgresLetters
from cloud.adapters.postgres.pool import connect, pool
from cloud.adapters.postgres.read_pool import read_pool
from cloud.adapters.postgres.schema import Schema
from cloud.core.backoff import Backoff
from cloud.core.dead_letters import Decision, Fate
from cloud.core.errors import OperatorError
from cloud.dlq_text import of_decision, of_letter, of_list
from cloud.ingest.replay import Letters
from cloud.read.dead_letters import as_letter, as_whole_letter
from cloud.read.text import dump
from cloud.settings import Settings
from cloud.steps import Steps
from wire.clock import SystemClock

TRIES_MAX: Final = 8
_NAME: Final = "headgate-dlq"
_UNDONE: Final = frozenset({Fate.STILL_BAD, Fate.UNKNOWN})


async def run_dlq(settings: Settings, asked: argparse.Namespace) -> tuple[str, bool]:
    """Return what to print, and whether all that was asked is done.

    Raises:
        HeadgateError: There is no such letter, or the database is away.
    """
    if asked.word in ("replay", "drop"):
        return await _decide(settings, asked)
    async with read_pool(settings.database_url, name=_NAME, connections_max=1) as opened:
        reads = LetterReads(opened)
        return (await (_list if asked.word == "list" else _show)(reads, asked)), True


async def _list(reads: LetterReads, asked: argparse.Namespace) -> str:
    state = None if asked.state == "all" else asked.state
    rows = await reads.page(asked.hub, asked.reason, state, asked.before, asked.limit)
    letters = [as_letter(row) for row in rows]
    if asked.ids:
        return "\n".join(letter["letter_id"] for letter in letters)
    if asked.json:
        return dump({"letters": letters}).decode()
    return of_list(letters, more=len(letters) == asked.limit)


async def _show(reads: LetterReads, asked: argparse.Namespace) -> str:
    row = await reads.one(asked.letter)
    if row is None:
        raise OperatorError(f"there is no dead letter {asked.letter}", hint="headgate dlq list")
    letter = as_whole_letter(row)
    return dump(letter).decode() if asked.json else of_letter(letter)


async def _decide(settings: Settings, asked: argparse.Namespace) -> tuple[str, bool]:
    by = asked.by or _account()
    steps = Steps(SystemClock(), Backoff(tries_max=TRIES_MAX), Random().random)
    decisions = []
    async with _letters(settings) as letters:
        act = letters.replay if asked.word == "replay" else letters.drop
        for letter_id in dict.fromkeys(asked.letters):
            decisions.append(await steps.done(asked.word, partial(act, letter_id, by)))
    objects = [_as_object(decision) for decision in decisions]
    done = not any(decision.fate in _UNDONE for decision in decisions)
    if asked.json:
        return dump({"decisions": objects}).decode(), done
    return "\n".join(map(of_decision, objects)), done


@asynccontextmanager
async def _letters(settings: Settings) -> AsyncIterator[Letters]:
    async with connect(settings.database_url) as connection:
        store_id = await Schema(connection).store_id()
    async with pool(settings.database_url, connections_max=2, name=_NAME) as opened:
        yield Letters(PostgresLetters(opened, store_id), SystemClock(), reach=settings.reach)


def _as_object(decision: Decision) -> dict[str, Any]:
    return asdict(decision) | {"letter_id": str(decision.letter_id)}


def _account() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
