"""
`docs/providers/` says what is true: every page's Python, tokens, operators and refusals.
"""

import json
import re
import shlex
import time
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from provider_pages import DIRECTORY, Page, Refusal, Token, pages
from road_kit import ask
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from guardrail import GuardrailMiddleware, Issuer, Operator, TokenFacts, current_operator
from guardrail._profiles import PROFILES, load_profile
from guardrail.cli import main
from guardrail.cli._sources import sources
from guardrail.events import TokenRefused
from guardrail.issuer import SigningKeys
from guardrail.testing import FakeIssuer

KEYS: Final = SigningKeys("EdDSA")
ISSUED: Final = 1_770_109_200  # 2026-02-03 09:00:00 UTC, the iat of every page
PAGES: Final = pages()
TOKENS: Final = [
    pytest.param(page, token, id=f"{page.name}: {token.name}")
    for page in PAGES
    for token in page.tokens.values()
]
REFUSALS: Final = [
    pytest.param(page, refusal, id=f"{page.name}: {refusal.text}")
    for page in PAGES
    for refusal in page.refusals()
]
BY_NAME: Final = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


class Api:
    """
    An API with each requirement of a page at a path, and the page's provider in process.
    """

    def __init__(self, page: Page) -> None:
        self.package, self.requirements = page.run()
        self.operators: list[Operator] = []
        self.codes: list[str] = []
        self.now = 0.0
        self.app = GuardrailMiddleware(
            self._show,
            prefixes={f"/{name}": requirement for name, requirement in self.requirements.items()},
            http_client=_provider(page.issuer),
            clock=lambda: self.now,
            on_event=[self._hear],
        )

    async def ask(self, token: Token | Refusal, at: str | None) -> httpx.Response:
        """
        Ask with a token, a minute after it was issued, at one of the requirements or the first.
        """
        self.now = ISSUED + 60
        signed = KEYS.sign(token.claims, headers={"typ": token.typ})
        return await ask(self.app, f"/{at or next(iter(self.requirements))}", token=signed)

    def _hear(self, event: object) -> None:
        if isinstance(event, TokenRefused):
            self.codes.append(event.code)

    async def _show(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.operators.append(current_operator())
        await Response(status_code=204)(scope, receive, send)


def _provider(issuer: Issuer) -> httpx.AsyncClient:
    """
    The issuer: discovered, or with its keys at the URL that the page gives, and nowhere else.
    """
    if issuer.jwks_uri is None:
        fake = FakeIssuer(issuer.url)
        fake.keys = KEYS
        return fake.http_client

    def respond(request: httpx.Request) -> httpx.Response:
        return (
            httpx.Response(200, json=KEYS.jwks()) if request.url == issuer.jwks_uri else httpx.Response(404)
        )

    return httpx.AsyncClient(transport=httpx.MockTransport(respond))


def values_of(operator: Operator) -> dict[str, object]:
    """
    The fields that are not None, False or empty; those of the token by their long names.
    """
    found = {one.name: getattr(operator, one.name) for one in fields(Operator) if one.repr}
    del found["claims"], found["token"]
    found |= {f"token.{one.name}": getattr(operator.token, one.name) for one in fields(TokenFacts)}
    return {name: value for name, value in found.items() if value}


@pytest.mark.anyio
@pytest.mark.parametrize(("page", "token"), TOKENS)
async def test_a_token_becomes_the_operator_of_its_table(page: Page, token: Token) -> None:
    """
    The token is accepted, and the table has each field of the operator that is not None, False or empty.
    """
    api = Api(page)

    responses = [await api.ask(token, at) for at in token.at or [None]]

    assert ([one.status_code for one in responses], api.codes) == ([204] * len(responses), [])
    operator = api.operators[0]
    assert values_of(operator) == token.values
    assert set(operator.claims) == set(token.claims)


@pytest.mark.anyio
@pytest.mark.parametrize(("page", "token"), TOKENS)
async def test_a_field_comes_from_where_its_row_says(page: Page, token: Token) -> None:
    """
    The last column is what ``guardrail explain --operator`` says.
    """
    api = Api(page)

    await api.ask(token, next(iter(token.at), None))

    [operator] = api.operators
    found = sources(operator, issuer=page.issuer, audiences=api.package.audiences)
    assert {field: found[field] for field in token.sources} == token.sources


@pytest.mark.anyio
@pytest.mark.parametrize(("page", "refusal"), REFUSALS)
async def test_a_token_is_refused_as_its_row_says(page: Page, refusal: Refusal) -> None:
    """
    One change, or another route, and the answer and its code are those of the row.
    """
    api = Api(page)

    response = await api.ask(refusal, refusal.at)

    assert (response.status_code, api.codes) == (refusal.status, [refusal.code])


def test_the_commands_show_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    The commands of the page on mappings run as printed: the first does not find the user, the second does.
    """
    [page] = [one for one in PAGES if one.name == "another"]
    claims = page.tokens["user's token"].claims | {"iat": int(time.time()), "exp": int(time.time()) + 60}
    monkeypatch.chdir(tmp_path)
    Path("token.txt").write_text(KEYS.sign(claims, headers={"typ": "JWT"}))
    Path("keys.json").write_text(json.dumps(KEYS.jwks()))

    first, second = re.findall(r"^guardrail (explain [^`]*?)\n```", page.text, re.MULTILINE)
    statuses = [main([*shlex.split(one.replace("\\\n", " ")), "--jwks=keys.json"]) for one in (first, second)]

    before, after = capsys.readouterr().out.split("credentials")[1:]
    assert statuses == [0, 0]
    assert re.search(r"^subject +claim sub +'kim'$", before, re.MULTILINE)
    assert re.search(r"^subject +claim uid, by mapping +'p-5521'$", after, re.MULTILINE)


@BY_NAME
def test_a_page_has_its_parts(page: Page) -> None:
    """
    What to set there, what to write here, a user's and a machine's token, refusals and traps.
    """
    headings = list(page.sections)

    assert headings[0].startswith("At ")
    assert headings[1:4] == ["Here", "A user's token", "A machine's token"]
    assert headings[-2:] == ["Refused", "Look out for"]
    assert [one for one in headings[4:-2] if not one.endswith(" token")] == []


@BY_NAME
def test_kinds_are_told_apart(page: Page) -> None:
    """
    The user's token is a user's and the machine's a service's.
    """
    kinds = {name: token.values["kind"] for name, token in page.tokens.items()}

    assert kinds.pop("machine's token") == "service"
    assert set(kinds.values()) == {"user"}


def test_the_index_lists_every_page_and_profile() -> None:
    """
    Each page with its profile and whether clients must be listed, and there is a page for each profile.
    """
    index = (DIRECTORY / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| \[.+\]\((\w+)\.md\) \| `(\w+)` \| (yes|no) \|", index, re.MULTILINE)

    expected: list[Any] = []
    for page in PAGES:
        profile = load_profile(page.issuer.profile)
        expected.append((page.name, profile.name, "yes" if profile.pins_client else "no"))
    assert sorted(rows) == sorted(expected)
    assert {profile for _, profile, _ in rows} == set(PROFILES)


@BY_NAME
def test_links_lead_somewhere(page: Page) -> None:
    """
    Links of a page are files, and their fragments headings.
    """
    for target, fragment in re.findall(r"\]\(([\w./-]+\.md)(?:#([\w-]+))?\)", page.text):
        text = (DIRECTORY / target).read_text("utf-8")
        headings = {one.lower().replace(" ", "-") for one in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
        assert not fragment or fragment in headings
