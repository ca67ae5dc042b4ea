"""Exceptions that are messages for a person: what was wrong, what was expected, what to do."""


class DistokError(ValueError):
    """A user's mistake or an unusable file. The command line prints its text on one line and exits with status 2."""


class UnavailableError(DistokError):
    """What cannot be had here while all else can: a method on another kind of pipeline, a figure without its reader.

    A comparison names it with its reason and goes on. No other error may be taken for that.
    """
