"""Spellings of another hub's topics, by which a hub might hope to slip past a rule."""

from collections.abc import Iterator

from wire.ids import HubId
from wire.topics import Channel

_SLASHES = ("/", "//", "/./", "/../", "\\", "%2f", ".", "\u2215", "/\u200b", "/ ", " /", "/\u0085/")
_TURNS = (str.upper, str.title, str.swapcase)


def foreign_spellings(own: HubId, other: HubId, region: str = "north") -> list[str]:
    """Return at least 200 topics and filters that are not ``own``'s, each once."""
    return sorted(set(_spellings(own, other, region)))


def _spellings(own: HubId, other: HubId, region: str) -> Iterator[str]:
    for channel in Channel:
        plain = f"headgate/1/{region}/{other}/{channel}"
        mine = f"headgate/1/{region}/{own}/{channel}"
        yield from (
            plain,
            f"/{plain}",
            f"{plain}/",
            f"{plain}\n",
            f"{mine}\n",
            f" {plain}",
            mine + "/",
        )
        yield from (plain.replace("/", slash) for slash in _SLASHES)
        yield from (turn(plain) for turn in _TURNS)
        yield from (
            f"headgate/{version}/{region}/{other}/{channel}" for version in ("2", "01", "+")
        )
        yield from (f"headgate/1/{where}/{other}/{channel}" for where in ("south", "+", "*", ""))
        yield from (f"headgate/1/{region}/{who}/{channel}" for who in _names(own, other))
        yield f"$share/group/{plain}"
        yield f"{mine}/../../{other}/{channel}"
        yield f"{mine}\u0000{plain}"
    yield from ("#", "+/#", "headgate/#", "headgate/1/#", f"headgate/1/{region}/#", "$SYS/#")
    yield from ("+/+/+/+/+", f"headgate/1/{region}/{own}/#", f"headgate/1/{region}/{own}/+")
    yield from ("sensors/7/data", "sensors/+/data", "headgate/1/lane/high", "lanes", "ingest")


def _names(own: HubId, other: HubId) -> tuple[str, ...]:
    return (f"{own}{other}", f"{own},{other}", f"{own}|{other}", f"{own}-", own[:-1], "*", "+", "")
