"""What the small PKI refuses, always with what to type next."""

from wire.errors import HeadgateError


class CertsError(HeadgateError):
    """It cannot, or will not, do what was asked.

    Attributes:
        hint: What the administrator can do about it, one sentence or command.
    """

    def __init__(self, message: str, *, hint: str) -> None:
        """Say what is wrong and what to do next. Neither may hold a secret."""
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.args[0]}\n  -> {self.hint}"
