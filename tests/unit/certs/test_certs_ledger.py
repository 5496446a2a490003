"""The index: what was written is read, what was cut short was never there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.core.errors import CertsError
from certs.core.ledger import (
    Entry,
    Reason,
    Revocation,
    issued_line,
    read,
    revoked_line,
    whole_bytes,
)
from certs.core.names import AltName, Kind
from certs.core.profile import Role

serials = st.integers(1, 2**159 - 1)
entries = st.builds(
    Entry,
    serial=serials,
    issuer=serials,
    role=st.sampled_from(Role),
    name=st.text("abz09-", min_size=1, max_size=12),
    not_before_ms=st.integers(0, 2**45),
    not_after_ms=st.integers(0, 2**45),
    key_sha256=st.sampled_from(["0" * 64, "f" * 64]),
    alt_names=st.lists(
        st.builds(AltName, st.sampled_from(Kind), st.text("abc.:", min_size=1)), max_size=3
    ).map(tuple),
)
revocations = st.builds(Revocation, at_ms=st.integers(0, 2**45), reason=st.sampled_from(Reason))
lines = st.lists(
    st.one_of(
        entries.map(lambda entry: (entry, issued_line(entry))),
        st.tuples(serials, revocations).map(lambda told: (told, revoked_line(*told))),
    ),
    max_size=5,
)


@given(told=lines, cut=st.integers(0, 10_000))
def test_cut_anywhere_the_index_says_what_its_whole_lines_say(
    told: list[tuple[object, bytes]], cut: int
) -> None:
    whole = b"".join(line for _, line in told)
    part = whole[: cut % (len(whole) + 1)]
    expected_entries: dict[int, Entry] = {}
    expected_revoked: dict[int, Revocation] = {}
    end = 0
    for thing, line in told:
        if (end := end + len(line)) > len(part):
            break
        if isinstance(thing, Entry):
            expected_entries[thing.serial] = thing
        elif isinstance(thing, tuple):
            expected_revoked.setdefault(*thing)
    assert read(part) == (expected_entries, expected_revoked)
    assert read(part[: whole_bytes(part)]) == read(part)


def test_the_first_revocation_counts() -> None:
    first, second = Revocation(1, Reason.KEY_COMPROMISE), Revocation(2, Reason.UNSPECIFIED)
    _, revoked = read(revoked_line(7, first) + revoked_line(7, second))
    assert revoked == {7: first}


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"7",
        b'{"issued":"zz"}',
        b'{"revoked":"1","at_ms":1,"reason":"bored"}',
        b"\xff\xfe",
        b'{"revoked":"1","at_ms":null,"reason":"unspecified"}',
    ],
)
def test_a_damaged_line_is_refused_with_its_number(line: bytes) -> None:
    good = revoked_line(7, Revocation(1, Reason.UNSPECIFIED))
    with pytest.raises(CertsError, match="line 2 of the index"):
        read(good + line + b"\n" + good)
