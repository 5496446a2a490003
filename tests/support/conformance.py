"""A pytest plugin: ``--conformance FILE`` writes which test proved which requirement."""

import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

REQUIREMENTS = Path(__file__).parents[2] / "docs" / "requirements.toml"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--conformance", metavar="FILE", help="write the conformance page to FILE")


def pytest_configure(config: pytest.Config) -> None:
    target = config.getoption("--conformance")
    if target and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Page(Path(target)))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let a test's report carry its ids, also from a worker process."""
    for marker in item.iter_markers("spec"):
        item.user_properties.extend(("spec", requirement) for requirement in marker.args)


def requirements() -> dict[str, str]:
    """Return id to one line, in the order of the specification."""
    groups = tomllib.loads(REQUIREMENTS.read_text())
    return {name: line for group in groups.values() for name, line in group.items()}


class _Page:
    def __init__(self, target: Path) -> None:
        self._target = target
        self._outcomes: dict[str, dict[str, str]] = defaultdict(dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, requirement in report.user_properties:
            if name == "spec":
                test = report.nodeid.partition("[")[0]
                worst = self._outcomes[str(requirement)].get(test, "passed")
                failed = report.failed or worst == "failed"
                skipped = report.skipped or worst == "skipped"
                outcome = "failed" if failed else "skipped" if skipped else "passed"
                self._outcomes[str(requirement)][test] = outcome

    def pytest_sessionfinish(self) -> None:
        known = requirements()
        unknown = set(self._outcomes) - set(known)
        assert not unknown, f"tests name requirements that do not exist: {sorted(unknown)}"
        rows = [f"| {name} | {line} | {self._proof(name)} |" for name, line in known.items()]
        proved = sum(1 for name in known if self._outcomes.get(name))
        self._target.write_text(
            "# Conformance\n\n"
            "Which test proves which requirement. Made by `make conformance`; do not edit.\n"
            f"{proved} of {len(known)} requirements are named by a test today.\n\n"
            "| id | requirement | proved by |\n|---|---|---|\n" + "\n".join(rows) + "\n"
        )

    def _proof(self, requirement: str) -> str:
        tests = self._outcomes.get(requirement, {})
        return "<br>".join(f"{outcome}: `{test}`" for test, outcome in sorted(tests.items())) or "—"
