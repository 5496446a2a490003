"""What is in force, what is due, what must be listed: against a second, slower opinion."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from certs.core.ledger import Entry, Ledger, Reason, Revocation
from certs.core.plan import (
    Due,
    State,
    due,
    in_force,
    issuer,
    renewals,
    revocable,
    state,
    to_list,
    trusted,
)
from certs.core.profile import HOLDERS, Role

END = 100
moments = st.integers(0, END)


@st.composite
def ledgers(draw: st.DrawFn) -> Ledger:
    """Roots 1-2, authorities 3-6 below them, holders 7-14 below those; some dead, some not held."""
    entries: dict[int, Entry] = {}

    def add(serial: int, role: Role, above: int, name: str) -> None:
        begins = draw(moments)
        ends = draw(st.integers(begins, END))
        entries[serial] = Entry(serial, above, role, name, begins, ends, "0" * 64)

    for serial in (1, 2):
        add(serial, Role.ROOT, serial, f"root-{serial}")
    for serial in range(3, 7):
        add(serial, Role.ISSUING, draw(st.sampled_from([1, 2])), f"issuing-{serial}")
    for serial in range(7, 15):
        role, name = draw(st.sampled_from(HOLDERS)), draw(st.sampled_from("ab"))
        add(serial, role, draw(st.sampled_from([3, 4, 5, 6])), name)
    some = st.sets(st.sampled_from(sorted(entries)), max_size=6)
    revoked = {each: Revocation(0, Reason.UNSPECIFIED) for each in draw(some)}
    return Ledger(entries, revoked, set(entries) - draw(some))


def is_good(ledger: Ledger, entry: Entry, now_ms: int) -> bool:
    """The second opinion: everything from here up to a root is alive."""
    chain = [entry]
    while chain[-1].issuer != chain[-1].serial:
        chain.append(ledger.entries[chain[-1].issuer])
    return all(
        each.serial in ledger.held
        and each.serial not in ledger.revoked
        and each.not_after_ms > now_ms
        for each in chain
    )


@given(ledger=ledgers(), now_ms=moments)
def test_in_force_is_what_is_alive_up_to_its_root(ledger: Ledger, now_ms: int) -> None:
    alive = {each.serial for each in ledger.entries.values() if is_good(ledger, each, now_ms)}
    assert {each.serial for each in in_force(ledger, now_ms)} == alive
    for entry in ledger.entries.values():
        assert (state(ledger, entry, now_ms) is State.IN_FORCE) is (entry.serial in alive)


@given(ledger=ledgers(), now_ms=moments)
def test_a_root_is_trusted_exactly_while_an_authority_of_it_is_in_force(
    ledger: Ledger, now_ms: int
) -> None:
    needed = {each.issuer for each in in_force(ledger, now_ms, Role.ISSUING)}
    assert {each.serial for each in trusted(ledger, now_ms)} == needed


@given(ledger=ledgers(), now_ms=moments)
def test_who_is_due_is_in_force_and_everybody_in_force_is_due_or_fresh(
    ledger: Ledger, now_ms: int
) -> None:
    current = issuer(ledger, now_ms)
    told = {each.entry.serial: each.due for each in renewals(ledger, now_ms)}
    assert all(is_good(ledger, ledger.entries[serial], now_ms) for serial in told)
    if current is None:
        assert not told
        return
    holders = in_force(ledger, now_ms, *HOLDERS)
    by_holder = itertools.groupby(
        sorted(holders, key=lambda e: (e.role, e.name, e.serial)), key=lambda e: (e.role, e.name)
    )
    last = {[*group][-1] for _, group in by_holder}
    for entry in last:
        why = due(entry, current.serial, now_ms)
        assert told.get(entry.serial) is why
        if why is None:
            assert entry.issuer == current.serial
    assert set(told) <= {each.serial for each in last}


def test_who_has_a_third_left_is_due_and_who_has_more_is_not() -> None:
    entry = Entry(7, 3, Role.HUB, "a", 0, 90, "0" * 64)
    assert due(entry, 3, 59) is None
    assert due(entry, 3, 60) is Due.LOW
    assert due(entry, 4, 0) is Due.OLD_ISSUER


@given(ledger=ledgers(), now_ms=moments, above=st.integers(1, 6))
def test_a_list_names_what_its_issuer_signed_and_would_still_hold(
    ledger: Ledger, now_ms: int, above: int
) -> None:
    listed = to_list(ledger, above, now_ms)
    for serial, entry in ledger.entries.items():
        wanted = entry.issuer == above and serial in ledger.revoked and entry.not_after_ms > now_ms
        assert (serial in listed) is wanted


@given(ledger=ledgers(), now_ms=moments, role=st.sampled_from(HOLDERS), name=st.sampled_from("ab"))
def test_after_revoking_nothing_of_a_holder_is_in_force_or_unlisted(
    ledger: Ledger, now_ms: int, role: Role, name: str
) -> None:
    taken = {
        each.serial: Revocation(now_ms, Reason.UNSPECIFIED)
        for each in revocable(ledger, role, name, now_ms)
    }
    after = Ledger(ledger.entries, {**taken, **ledger.revoked}, ledger.held)
    assert not [each for each in in_force(after, now_ms, role) if each.name == name]
    assert not revocable(after, role, name, now_ms)
    for serial in taken:
        assert serial in to_list(after, ledger.entries[serial].issuer, now_ms)
