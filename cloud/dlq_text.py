"""``dlq``: what it says to people. Takes the objects that ``--json`` prints."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

_SAYS: Final = {
    "dropped": "dropped",
    "still_bad": "still bad",
    "unknown": "there is no such letter",
}
_HEX_A_LINE: Final = 64


def of_list(letters: Sequence[dict[str, Any]], *, more: bool) -> str:
    """Return the list, a line a letter."""
    if not letters:
        return "no dead letters of that kind"
    head = ("ID", "STATE", "KIND", "TRIES", "LAST FAILURE", "HUB", "SEQUENCE", "REASON")
    rows = [head, *(_row(letter) for letter in letters)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    if more:
        lines.append(f"more: headgate dlq list --before {letters[-1]['letter_id']}")
    return "\n".join(lines)


def of_letter(letter: dict[str, Any]) -> str:
    """Return one letter."""
    return "\n".join(_lines(letter))


def of_decision(decision: dict[str, Any]) -> str:
    """Return what came of one letter, on one line."""
    begin = f"letter {decision['letter_id']}: "
    fate, reason = decision["fate"], decision["reason"]
    if fate == "decided":
        return f"{begin}{reason} before; nothing done"
    if fate != "stored":
        return f"{begin}{_SAYS[fate]}" + (f": {reason}" if reason else "")
    counts = [
        f"{decision[name]} {what}"
        for name, what in (
            ("rows", "rows"),
            ("evidence", "evidence rows"),
            ("duplicate_rows", "there already"),
            ("conflicts", "in conflict, kept aside"),
            ("refused_rows", "refused one by one"),
        )
        if decision[name] or name == "rows"
    ]
    return f"{begin}stored: {', '.join(counts)}"


def _row(letter: dict[str, Any]) -> tuple[str, ...]:
    return (
        letter["letter_id"],
        letter["state"],
        letter["kind"],
        str(letter["attempts"]),
        letter["last_at"],
        letter["hub_id"],
        str(letter["sequence"]),
        letter["reason"],
    )


def _lines(letter: dict[str, Any]) -> Iterator[str]:
    yield f"letter {letter['letter_id']}: {letter['state']}, {letter['kind']}"
    yield f"  reason    {letter['reason']}"
    yield f"  batch     {letter['hub_id']} epoch {letter['epoch']} sequence {letter['sequence']}"
    yield f"  topic     {letter['topic'] or 'not remembered'}"
    yield f"  failed    {letter['attempts']} times, {letter['first_at']} to {letter['last_at']}"
    if letter["decided_by"]:
        yield f"  decided   {letter['state']} by {letter['decided_by']}, {letter['decided_at']}"
    if header := letter["header"]:
        marks = " ".join([header["kind"], *header["flags"]])
        yield f"  header    {header['rows']} rows, {marks}: {', '.join(header['metrics']) or '-'}"
    if content := letter["content"]:
        span = f"{content['observed_from']} to {content['observed_to']}"
        yield f"  content   legible: {content['rows']} rows, {span}"
    else:
        yield f"  content   not legible today: {letter['fault']}"
    yield f"  bytes     {letter['bytes']}"
    head = letter["head_hex"]
    for at in range(0, len(head), _HEX_A_LINE):
        yield f"    {head[at : at + _HEX_A_LINE]}"
