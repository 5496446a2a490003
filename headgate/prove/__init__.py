"""The proof that nothing is lost: a flood, kills and bad links from a seed, and the oracle."""

from headgate.prove.command import run

__all__ = ["run"]
