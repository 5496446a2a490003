"""Nodes that meet for the first time join a cluster one by one."""

from pathlib import Path

from headgate.stack.rabbitmq import Binaries, Cluster, Node, Tls


def placed(folder: Path) -> Cluster:
    erlang = folder / "usr/lib/erlang/erts-13/bin"
    erlang.mkdir(parents=True)
    (erlang / "epmd").touch()
    nodes = tuple(Node(number, *range(10 * number, 10 * number + 4)) for number in (1, 2, 3))
    return Cluster(Binaries(folder), folder, Tls(folder, folder, folder), 1, nodes)


def names(cluster: Cluster) -> list[list[str]]:
    return [[program.name for program in programs] for programs in cluster.rounds()]


def test_new_nodes_start_one_after_the_other(tmp_path: Path) -> None:
    found = names(placed(tmp_path))
    assert found == [["epmd"], [], ["rabbitmq-1"], ["rabbitmq-2"], ["rabbitmq-3"]]


def test_nodes_that_know_each_other_start_together_and_before_new_ones(tmp_path: Path) -> None:
    cluster = placed(tmp_path)
    for number in (1, 3):
        (tmp_path / f"r{number}" / f"r{number}@localhost").mkdir(parents=True)
    assert names(cluster) == [["epmd"], ["rabbitmq-1", "rabbitmq-3"], ["rabbitmq-2"]]
