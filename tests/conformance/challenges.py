"""
A strict parser of ``WWW-Authenticate`` (RFC 9110 §11.6.1), written from the grammar alone.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# RFC 9110 §5.6.4, of which RFC 6750 §3 leaves no escapes: printable ASCII without quote and backslash.
_QUOTED: Final = r'"[\x20\x21\x23-\x5b\x5d-\x7e]*"'
_PARAMETER: Final = rf"(?P<name>{_TOKEN})=(?P<value>{_TOKEN}|{_QUOTED})"
_ELEMENT: Final = re.compile(rf"(?:(?P<scheme>{_TOKEN})(?: +|$))?(?:{_PARAMETER})?")
_ELEMENTS: Final = re.compile(rf"(?:[^,\"]|{_QUOTED})+")


@dataclass(frozen=True, slots=True)
class Challenge:
    """
    One challenge: its scheme and its parameters, names in lower case.
    """

    scheme: str
    parameters: dict[str, str]


def parse_challenges(lines: Iterable[bytes]) -> list[Challenge]:
    """
    The challenges of any number of ``WWW-Authenticate`` field lines.

    Raises:
        ValueError: A line is not in the grammar, or a parameter stands twice in one challenge.
    """
    found: list[Challenge] = []
    for element in (element for line in lines for element in _split(line.decode("ascii"))):
        match = _ELEMENT.fullmatch(element)
        if match is None:
            raise ValueError(f"neither a challenge nor a parameter: {element!r}")
        if match["scheme"] is not None:
            found.append(Challenge(match["scheme"], {}))
        if match["name"] is not None:
            _add(found[-1], match["name"].lower(), match["value"])
    return found


def _split(line: str) -> Iterator[str]:
    if _ELEMENTS.sub("", line).strip(","):
        raise ValueError(f"not a list: {line!r}")
    yield from (element.strip(" ") for element in _ELEMENTS.findall(line))


def _add(challenge: Challenge, name: str, value: str) -> None:
    if name in challenge.parameters:
        raise ValueError(f"{name} stands twice")  # RFC 9110 §11.2, RFC 6750 §3
    challenge.parameters[name] = value.strip('"')
