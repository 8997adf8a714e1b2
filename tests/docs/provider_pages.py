"""
The pages of ``docs/providers/`` as data: their Python, their tokens, their tables.

What a page must look like: a block of Python; for each token a heading, the *typ* of its header in words, the
claims set in JSON and a table of the operator's fields; and a table of refusals, each a token of the page
and at most one change to it. A page that reads otherwise raises here.
"""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from guardrail import Actor, Issuer, ServicePackage
from guardrail._alternatives import Alternatives
from guardrail._policy import Requirement

DIRECTORY: Final = Path(__file__).parents[2] / "docs" / "providers"

_ROW: Final = re.compile(r"^\| (.+) \|$", re.MULTILINE)
_REFUSED: Final = re.compile(
    r"the (?P<token>.+ token)"
    r"(?:, (?P<header>its header )?(?:with `(?P<member>[^`]+)`|without `(?P<name>[^`]+)`))?"
    r"(?:, at `(?P<at>\w+)`)?"
)


@dataclass(frozen=True, slots=True)
class Token:
    """
    A token of a page, and the operator that it is said to become.

    Attributes:
        name: As refusals call it: ``user's token``.
        typ: The *typ* of its header, or None.
        claims: Its claims set.
        at: The requirements that it is good at; none for the page's first.
        values: Fields of the operator, those of its token as ``token.acr``, and their values.
        sources: The same fields, and where they are said to come from.
    """

    name: str
    typ: str | None
    claims: dict[str, Any]
    at: tuple[str, ...]
    values: dict[str, object]
    sources: dict[str, str]


@dataclass(frozen=True, slots=True)
class Refusal:
    """
    A row of a page's table of refusals.

    Attributes:
        text: The first cell.
        typ: The *typ* of the header.
        claims: The claims set, changed.
        at: The requirement that refuses it, or None for the page's first.
        status: The HTTP status.
        code: The refusal code.
    """

    text: str
    typ: str | None
    claims: dict[str, Any]
    at: str | None
    status: int
    code: str


class Page:
    """
    One page.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.text = path.read_text("utf-8")
        headings = re.split(r"^## ", self.text, flags=re.MULTILINE)[1:]
        self.sections = {one.partition("\n")[0]: one.partition("\n")[2] for one in headings}
        self.tokens = {one.name: one for one in map(_token, self.sections.items()) if one is not None}

    def run(self) -> tuple[ServicePackage, dict[str, Requirement | Alternatives]]:
        """
        Run the page's Python: its package, and its requirements by name, in order.
        """
        [source] = re.findall(r"```python\n(.*?)```", self.text, re.DOTALL)
        namespace: dict[str, Any] = {}
        exec(compile(source, f"docs/providers/{self.name}.md", "exec"), namespace)  # noqa: S102 - our own page
        requirements = {
            name: one for name, one in namespace.items() if isinstance(one, Requirement | Alternatives)
        }
        package: ServicePackage = namespace["orders"]
        return package, requirements

    @property
    def issuer(self) -> Issuer:
        """
        The page's only issuer.
        """
        [issuer] = self.run()[0].issuers
        return issuer

    def refusals(self) -> Iterator[Refusal]:
        """
        The rows of the table of refusals.
        """
        for text, status, code in _rows(self.sections["Refused"]):
            found = _REFUSED.fullmatch(text)
            assert found is not None, text
            token = self.tokens[found["token"]]
            typ, claims = token.typ, dict(token.claims)
            member: dict[str, Any] = json.loads(f"{{{found['member'] or ''}}}")
            if found["header"]:
                typ = member["typ"]
            elif found["name"]:
                del claims[found["name"]]
            claims |= {} if found["header"] else member
            yield Refusal(text, typ, claims, found["at"], int(status), code.strip("`"))


def pages() -> list[Page]:
    """
    The pages of all providers, without the index.
    """
    return [Page(path) for path in sorted(DIRECTORY.glob("*.md")) if path.stem != "README"]


def _token(section: tuple[str, str]) -> Token | None:
    heading, text = section
    found = re.fullmatch(r"An? (.+ token)", heading)
    if found is None:
        return None
    [claims] = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    typ, at = re.search(r"`typ` is\s`([^`]+)`", text), re.search(r"good at (`[\w` ]+`)", text)
    rows = list(_rows(text))
    return Token(
        found[1],
        typ[1] if typ else None,
        json.loads(claims),
        tuple(re.findall(r"`(\w+)`", at[1])) if at else (),
        {field.strip("`"): _value(value.strip("`")) for field, value, _ in rows},
        {field.strip("`"): source.replace("`", "") for field, _, source in rows},
    )


def _value(text: str) -> object:
    """
    A value as Python writes it.
    """
    if text.startswith("(Actor("):
        return eval(text, {"Actor": Actor})  # noqa: S307 - our own page
    return ast.literal_eval(text)


def _rows(text: str) -> Iterator[list[str]]:
    """
    The rows of the last table in *text*, heads left out; a bar in a cell is escaped.
    """
    rows = [one.split(" | ") for one in _ROW.findall(text)]
    begin = max(index for index, row in enumerate(rows) if set(row) == {"---"}) + 1
    yield from ([cell.replace("\\|", "|") for cell in row] for row in rows[begin:])
