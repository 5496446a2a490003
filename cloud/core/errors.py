"""Failures an operator has to mend, each with what to type next."""

from wire.errors import HeadgateError


class OperatorError(HeadgateError):
    """Something outside the program is not as it must be."""

    def __init__(self, what: str, *, hint: str) -> None:
        """Say what is wrong and the next command to type."""
        super().__init__(f"{what}\n  hint: {hint}")
        self.hint = hint
