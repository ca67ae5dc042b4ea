"""The one exception that is a message for a person: what was wrong, what was expected, what to do."""


class DistokError(ValueError):
    """A user's mistake or an unusable file. The command line prints its text on one line and exits with status 2."""
