"""What can go wrong on this machine, always with what to type next."""

from wire.errors import InfrastructureError


class StackError(InfrastructureError):
    """The stack cannot do what was asked.

    Attributes:
        hint: What the operator can do about it, one sentence or command.
    """

    def __init__(self, message: str, *, hint: str) -> None:
        """Say what is wrong and what to do next."""
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.args[0]} ({self.hint})"
