"""What can go wrong, as one line of cause and one of mend; the class decides the exit code of the command."""

from __future__ import annotations

from typing import ClassVar


class StreamfoldError(Exception):
    """An error that a user is told of: ``cause`` says what and where, ``mend`` what to do about it."""

    exit_code: ClassVar[int] = 1

    def __init__(self, cause: str, mend: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.mend = mend


class RunError(StreamfoldError):
    """Failed while running, or nothing was found."""

    exit_code = 1


class InputError(StreamfoldError):
    """The user's input is wrong: a file, an option, a port in use."""

    exit_code = 2


class KafkaStateError(StreamfoldError):
    """The broker, a topic or its state is not usable."""

    exit_code = 3
