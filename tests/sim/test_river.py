"""The whole river, simulated: every law holds for every seed, and a seed is its run."""

import pytest

from tests.sim.river_sim import try_seed

SEEDS = 150
GROUP = 25


@pytest.mark.parametrize("first", range(1, SEEDS, GROUP))
@pytest.mark.timeout(300)
def test_every_law_holds_whatever_the_weather(first: int) -> None:
    for seed in range(first, first + GROUP):
        broken, _ = try_seed(seed)
        if broken is not None:
            broken.add_note(f"again: python -m tests.sim.river_sim --seed {seed} --verbose")
            raise broken


def test_a_seed_replays_exactly() -> None:
    for seed in (3, 62, 108):
        _, trace = try_seed(seed)
        assert len(trace) > 10
        assert try_seed(seed)[1] == trace


def test_the_weather_is_as_bad_as_it_should_be() -> None:
    seen = " ".join(what for seed in range(1, 41) for _, what in try_seed(seed)[1])
    for trouble in ("dies at a step", "is killed", "lost on the way", "damaged on the way"):
        assert trouble in seen
    for trouble in ("disk error", "disk full", "loses its memory", "is cut off", "store is away"):
        assert trouble in seen
