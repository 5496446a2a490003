"""What each kind of certificate is for, and when it holds."""

from hypothesis import given
from hypothesis import strategies as st

from certs.core.profile import (
    BACKDATED_MS,
    HOLDERS,
    PROFILES,
    SERIAL_BYTES,
    Purpose,
    Role,
    is_low,
    serial_of,
    validity,
)

DAY_MS = 86_400_000
times = st.integers(min_value=DAY_MS, max_value=4_102_444_800_000)  # 1970 to 2100


def test_lifetimes_are_ten_years_two_years_and_ninety_days() -> None:
    days = {role: PROFILES[role].lifetime_ms // DAY_MS for role in Role}
    assert days == {
        Role.ROOT: 3_650,
        Role.CROSS: 730,
        Role.ISSUING: 730,
        Role.SERVER: 90,
        Role.HUB: 90,
        Role.SERVICE: 90,
        Role.SENSOR: 90,
    }


def test_only_authorities_sign_and_the_issuing_one_signs_no_authority() -> None:
    assert not any(PROFILES[role].is_authority for role in HOLDERS)
    assert PROFILES[Role.ISSUING].path_length == 0
    assert PROFILES[Role.CROSS].path_length == 1
    assert PROFILES[Role.ROOT].path_length == 2


def test_a_server_is_no_client_and_a_client_no_server() -> None:
    assert PROFILES[Role.SERVER].purposes == {Purpose.SERVER}
    assert PROFILES[Role.HUB].purposes == PROFILES[Role.SERVICE].purposes == {Purpose.CLIENT}


@given(role=st.sampled_from(Role), now_ms=times, above_ms=st.integers(1, 20 * 365 * DAY_MS))
def test_a_certificate_holds_now_and_never_outlives_its_issuer(
    role: Role, now_ms: int, above_ms: int
) -> None:
    times = validity(role, now_ms, now_ms + above_ms)
    assert times.not_before_ms <= now_ms - BACKDATED_MS
    assert times.not_after_ms <= now_ms + above_ms
    assert times.not_before_ms % 1_000 == times.not_after_ms % 1_000 == 0
    wanted = min(PROFILES[role].lifetime_ms, above_ms)
    assert 0 <= now_ms + wanted - times.not_after_ms < 1_000


def test_a_third_left_is_low_and_a_moment_more_is_not() -> None:
    assert not is_low(0, 90, 59)
    assert is_low(0, 90, 60)
    assert is_low(0, 90, 91)


@given(begins=times, length=st.integers(1, 10**12), step=st.integers(0, 10**12))
def test_what_is_low_stays_low(begins: int, length: int, step: int) -> None:
    moment = begins + 2 * length // 3 + 1
    assert is_low(begins, begins + length, moment)
    assert is_low(begins, begins + length, moment + step)


@given(entropy=st.binary(min_size=SERIAL_BYTES, max_size=SERIAL_BYTES))
def test_a_serial_is_positive_and_exactly_twenty_octets(entropy: bytes) -> None:
    serial = serial_of(entropy)
    assert len(serial.to_bytes(SERIAL_BYTES, signed=True)) == SERIAL_BYTES  # fits DER's sign
    assert serial.bit_length() == 159


@given(
    one=st.binary(min_size=SERIAL_BYTES, max_size=SERIAL_BYTES),
    other=st.binary(min_size=SERIAL_BYTES, max_size=SERIAL_BYTES),
)
def test_a_serial_keeps_158_bits_of_what_was_drawn(one: bytes, other: bytes) -> None:
    kept = (1 << 158) - 1
    same = int.from_bytes(one) & kept == int.from_bytes(other) & kept
    assert (serial_of(one) == serial_of(other)) is same
