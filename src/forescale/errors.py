"""The package's one exception base: what a user can mend is a `ForescaleError`."""


class ForescaleError(ValueError):
    """A request that cannot be answered: the message names the invariant, what arrived, and what to do."""


class UnknownNameError(ForescaleError):
    """A name (law, export target, architecture, column) that does not exist; the message lists those that do."""


class MissingExtraError(ForescaleError):
    """An optional dependency is not installed; the message is the command that installs it."""
