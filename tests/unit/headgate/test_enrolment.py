"""headgate.stack.enrolment: what is written as TOML is read back the same."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from headgate.stack.enrolment import to_toml

plain = st.text(st.characters(codec="utf-8")) | st.booleans() | st.integers(-(2**53), 2**53)
names = st.text("abcdefgh_", min_size=1, max_size=8)


@given(st.dictionaries(names, plain | st.dictionaries(names, plain)))
def test_settings_survive_toml(settings: dict[str, object]) -> None:
    assert tomllib.loads(to_toml(settings)) == settings
