"""
Whether a 401 means that the token should be renewed, and for which API that was done lately. Without I/O.
"""

import re
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

__all__ = ["Rejections", "blames_the_token"]

FRESH: Final = 5.0  # seconds in which a new token is not blamed
PAUSE: Final = 60.0  # seconds between renewals that one origin causes
MAX_ORIGINS: Final = 256  # remembered; what is forgotten may renew again
_MAX_FIELD: Final = 8_192  # characters read of WWW-Authenticate

# RFC 9110 §11.2, §11.6.1, possessive throughout: nothing is tried twice.
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"  # noqa: S105 - RFC 9110 §5.6.2
_END: Final = r"[ \t]*+(?=,|$)"
_PARAMETER: Final = re.compile(rf'({_TOKEN})[ \t]*+=[ \t]*+(?:"((?:[^"\\]|\\.)*+)"|({_TOKEN})){_END}')
_SCHEME: Final = re.compile(rf"({_TOKEN})(?=[ ,]|$)[ ]*+(?:[A-Za-z0-9\-._~+/]++=*+{_END})?")
_GAP: Final = re.compile(r"[ \t,]*+")
_REST: Final = re.compile(r"[^,]*+")


def blames_the_token(fields: list[str]) -> bool:
    """
    Whether the ``WWW-Authenticate`` fields of a 401 leave it to a new token to help (RFC 6750 §3.1).

    There are none, or there is a Bearer challenge that has no *error* or says ``invalid_token``.
    """
    if not fields:
        return True
    bearers = (error for scheme, error in _challenges(", ".join(fields)[:_MAX_FIELD]) if scheme == "bearer")
    return any(error in (None, "invalid_token") for error in bearers)


def _challenges(field: str) -> Iterator[tuple[str, str | None]]:
    """
    Scheme and *error* of each challenge. What cannot be read is skipped up to the next comma.
    """
    position, scheme, error = _skip(_GAP, field, 0), None, None
    while position < len(field):
        parameter = _PARAMETER.match(field, position)
        found = parameter or _SCHEME.match(field, position)
        if found is None:
            position = _skip(_GAP, field, _skip(_REST, field, position))
            continue
        position = _skip(_GAP, field, found.end())
        if parameter is None:
            if scheme is not None:
                yield scheme, error
            scheme, error = found[1].lower(), None
        elif parameter[1].lower() == "error" and error is None:
            error = parameter[2] or parameter[3] or ""
    if scheme is not None:
        yield scheme, error


def _skip(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return position if match is None else match.end()


class Rejections:
    """
    The origins that have had the token renewed by a 401, and when. Not safe for threads by itself.
    """

    def __init__(self) -> None:
        self._pending: OrderedDict[str, None] = OrderedDict()
        self._renewed: OrderedDict[str, float] = OrderedDict()

    def reason_against(self, origin: str, *, age: float, now: float) -> str | None:
        """
        Why a 401 of *origin* does not renew a token obtained *age* seconds ago, or None.
        """
        if age < FRESH:
            return "fresh_token"
        renewed = self._renewed.get(origin)
        return "too_soon" if renewed is not None and now - renewed < PAUSE else None

    def renewing(self, origin: str) -> None:
        """
        A fetch that runs, or is about to, is on account of *origin*.
        """
        self._pending[origin] = None
        _bound(self._pending)

    def settled(self, now: float, *, is_renewed: bool) -> None:
        """
        That fetch ended. Only one that brought a token counts.
        """
        for origin in self._pending if is_renewed else ():
            self._renewed[origin] = now
            self._renewed.move_to_end(origin)
            _bound(self._renewed)
        self._pending.clear()


def _bound(origins: OrderedDict[str, None] | OrderedDict[str, float]) -> None:
    if len(origins) > MAX_ORIGINS:
        origins.popitem(last=False)
