"""Growth and the limit, without a server: what is compared, and that nothing passes unmeasured."""

import pytest

from benchmarks import cluster, growth
from benchmarks.drain import Contest, Drain, per_million
from benchmarks.growth import Cost
from benchmarks.limit import ROWS, SENSORS, Limit, bodies, hub
from headgate.bench import BENCHES, SHORT, run
from wire.batch import Batch
from wire.codec import decode


def test_the_dearest_is_held_against_the_cheapest_wherever_it_lies() -> None:
    curve = {10: Cost(1, 4, 9), 100: Cost(1, 3, 0), 1_000: Cost(1, 3.5, 0)}
    assert growth.spread(curve) == 1.25
    reached, missed = growth.figures(curve, curve | {10_000: Cost(1, 4.01, 0)})
    assert (reached.reached, missed.reached) == (True, False)
    assert "10 to 1,000 hubs" in reached.name


@pytest.mark.parametrize("curve", [{}, {10: Cost(1, 4, 0)}, {10: Cost(0, 0, 0), 20: Cost(1, 1, 1)}])
def test_a_curve_of_less_than_two_points_is_a_miss(curve: dict[int, Cost]) -> None:
    assert not any(figure.reached for figure in growth.figures(curve, curve))


def test_the_curve_is_printed_a_line_a_point() -> None:
    head, *lines = growth.table("hubs", {10: Cost(1, 4.5, 0.5), 1_000: Cost(1.25, 4.75, 0.5)})
    assert head.split() == ["hubs", "ingest", "postgres", "sum", "broker"]
    assert [line.split() for line in lines] == [
        ["10", "1.00", "4.50", "5.50", "0.50"],
        ["1,000", "1.25", "4.75", "6.00", "0.50"],
    ]


def test_a_process_that_was_not_there_before_cost_all_it_has_spent() -> None:
    assert per_million({"postgres": 3.0}, {"postgres": 8.0, "ingest": 1.0}, 2_000_000) == {
        "postgres": 2.5,
        "ingest": 0.5,
    }


def test_medians_are_compared_and_each_run_counts_its_better_flush() -> None:
    limits = [
        {10_000: Limit(slow, 5.0), 100_000: Limit(fast, cost)}
        for slow, fast, cost in ((10, 20, 4.0), (40, 30, 4.5), (10, 30, 9.0))
    ]
    drains = [Drain(speed, {"ingest": 1.5, "postgres": speed}, {}, 1) for speed in (3.0, 1.0, 2.0)]
    done = Contest(limits, {1: drains, 2: drains[:1]})
    assert (done.limit_rows_per_s, done.limit_cpu_s) == (30, 4.5)
    assert (done.rows_per_s(1), done.rows_per_s(2)) == (2, 3)
    assert done.cpu_s("ingest", "postgres") == 3.5


def test_targets_of_the_cluster_are_met_at_their_edge_only() -> None:
    assert all(figure.reached for figure in cluster.figures(0.80, 1.4, 4.0))
    assert not any(figure.reached for figure in cluster.figures(0.799, 1.399, 4.001))


def test_batches_of_the_limit_are_full_and_no_two_hubs_share_a_sensor() -> None:
    opened = [decode(body) for body in bodies(5, hubs=2, start_ms=0)]
    batches = [each for each in opened if isinstance(each, Batch)]
    assert [(b.seal.key.hub_id, b.seal.key.sequence, len(b)) for b in batches] == [
        (hub(number), turn, ROWS) for turn, number in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0))
    ]
    first, second = (set(batch.sensor_ids.tolist()) for batch in batches[:2])
    assert (len(first), len(second), first & second) == (SENSORS, SENSORS, set())


def test_short_benches_are_benches_and_all_takes_no_option_of_one() -> None:
    assert set(SHORT) < set(BENCHES)
    with pytest.raises(SystemExit):
        run(["all", "--full"])
