"""gateway.core.bind: tokens in the clear never leave the machine."""

import pytest

from gateway.core.bind import ForbiddenBindError, loopback


@pytest.mark.parametrize("bind", ["127.0.0.1:1883", "127.9.9.9:1", "[::1]:65535"])
def test_loopback_is_allowed(bind: str) -> None:
    host, port = loopback(bind)
    assert f"{host}:{port}" == bind.replace("[", "").replace("]", "")


@pytest.mark.parametrize(
    "bind",
    ["0.0.0.0:1883", "[::]:1883", "10.0.0.1:1883", ":1883", "1883", "localhost:1883", "",
     "127.0.0.1",
     "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:\uff11"],
)  # fmt: skip
def test_everything_else_is_refused(bind: str) -> None:
    with pytest.raises(ForbiddenBindError):
        loopback(bind)
