"""What the oldest Python we promise to run on does differently."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[3]
PACKAGES = ("wire", "water", "certs", "gateway", "edge_agent", "cloud", "firmware_sim", "headgate")


def leaves_from_inside(handler: ast.ExceptHandler) -> list[int]:
    """Return the lines on which a handler raises, or exits, instead of noting what it caught."""
    return [
        node.lineno
        for node in ast.walk(handler)
        if isinstance(node, ast.Raise)
        or (isinstance(node, ast.Call) and ast.unparse(node.func) == "sys.exit")
    ]


def test_nothing_is_raised_inside_except_star() -> None:
    """Before 3.11.4 (Debian 12 has 3.11.2) it would come out wrapped in a group."""
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.TryStar)
        for handler in node.handlers
        for line in leaves_from_inside(handler)
    ]
    assert not found
