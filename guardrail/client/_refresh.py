"""
The refresh token of a profile: which one is current, and whether the application has stored it.

The seam for a refresh token that several processes share: whoever holds the lock around
`RefreshTokens.current` and `RefreshTokens.receive` may use it.
"""

from collections.abc import Callable

__all__ = ["RefreshTokens"]


class RefreshTokens:
    """
    One refresh token at a time (RFC 6749 §6). Used by one fetch at a time.

    Attributes:
        is_used: Whether the profile's grant is that of refresh tokens.
        current: The one to use; None after it was dropped.
    """

    def __init__(self, given: str | None, store: Callable[[str], object] | None) -> None:
        """
        Args:
            given: The first one, which the application has.
            store: Called with each new one.
        """
        self.is_used = given is not None
        self.current = given
        self._stored = given
        self._store = store

    def __repr__(self) -> str:
        return f"RefreshTokens(is_used={self.is_used}, current={'********' if self.current else None})"

    def receive(self, new: str | None) -> bool:
        """
        Take what came with an access token, before that is used; None keeps the current one.

        One that could not be stored is the current one all the same, since the server may have taken the old
        one back, and is offered for storing again with the next access token.

        Returns:
            Whether a new one is stored.

        Raises:
            Exception: Whatever storing it raises.
        """
        if not self.is_used:
            return False
        current = self.current = new or self.current
        if current is None or current == self._stored:
            return False
        if self._store is not None:
            self._store(current)
        self._stored = current
        return True

    def drop(self) -> str | None:
        """
        Forget it, and return it.
        """
        dropped, self.current = self.current, None
        return dropped
