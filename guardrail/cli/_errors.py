"""
What a command says when it cannot do what was asked.
"""


class UsageError(Exception):
    """
    Raised when a command is used wrongly or something it needs is missing; the message says what to do.
    """
