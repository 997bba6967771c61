"""Every error fleetsync raises, in one tree; each says what the user can do.

    FleetsyncError
    ├── Retryable                 try the same thing again later
    │   ├── SyncTimeout           a forced sync was not proven within its time
    │   └── StoreFailed           a commit did not reach the disk; nothing was published
    ├── Permanent                 the same input will fail again
    │   ├── ConfigError           a fleet file, option or environment variable is wrong
    │   ├── StoreRefused          the database file is in use, foreign, or cannot be opened
    │   ├── UnknownRobot          no robot of that id is in the fleet
    │   ├── RobotStopped          the robot or its account was stopped; the reason says why
    │   ├── EngineEnded           the engine was stopped, or has failed; the cause stands behind it then
    │   └── AddressInUse          a port that was asked for is taken
    └── Fatal                     the engine cannot go on; it keeps what it has and ends
        └── CrewLost              worker processes could not be started or kept

What an *exchange call* met is no exception but a `Fault` inside its `Answer`: faults are data that the core decides on.
"""


class FleetsyncError(Exception):
    """Base of all; `hint` says what the user can do about it."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class Retryable(FleetsyncError):
    """Trying the same thing again later can succeed."""


class SyncTimeout(Retryable):
    """A forced sync was not proven within its time; the message says what was missing."""


class StoreFailed(Retryable):
    """A commit did not reach the disk. Nothing of it was published; it is tried again."""


class Permanent(FleetsyncError):
    """The same input will fail again: something has to be changed first."""

    exit_code = 2


class ConfigError(Permanent):
    """A fleet file, an option or an environment variable is wrong; names the place and what is allowed."""


class StoreRefused(Permanent):
    """The database file is in use, belongs to another program, or cannot be opened."""


class UnknownRobot(Permanent):
    """No robot of that id is in the fleet."""


class RobotStopped(Permanent):
    """The robot or its account was stopped; the message says why and how to resume."""


class EngineEnded(Permanent):
    """The engine was stopped, or has failed (the cause stands behind it then): start a new one."""


class AddressInUse(Permanent):
    """A port that was asked for is taken by another program."""


class Fatal(FleetsyncError):
    """The engine cannot go on; what was committed stays."""


class CrewLost(Fatal):
    """Worker processes could not be started or kept alive."""
