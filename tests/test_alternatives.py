"""
A route that is open to the callers of either of several service packages.
"""

from typing import Any

import pytest
from road_kit import ask, endpoint, new_issuer, package_of
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from guardrail import GuardrailMiddleware, Requirement, ServicePackage, any_of, public
from guardrail._alternatives import requirements_of
from guardrail.errors import PolicyError
from guardrail.events import Event, KeysUnavailable, TokenAccepted, TokenRefused
from guardrail.testing import as_operator

pytestmark = pytest.mark.anyio

ORDERS = ServicePackage("orders", issuer="https://login.example.com", audience="orders")
PARTNERS = ServicePackage("partners", issuer="https://partner.example.org", audience="partners")


class World:
    """
    Two issuers, a package of each, and a route open to both.
    """

    def __init__(self, **settings: Any) -> None:
        self.ours = new_issuer(audience="https://api.example.com/orders")
        self.theirs = new_issuer("https://partner.example.org", audience="https://api.example.com/partners")
        self.orders = package_of(self.ours, "orders")
        self.partners = package_of(self.theirs, "partners")
        self.events: list[Event] = []
        route = any_of(self.orders.requires("orders:read"), self.partners.requires("feed", roles=["buyer"]))
        self.app: ASGIApp = GuardrailMiddleware(
            Starlette(routes=[Route("/orders", route(endpoint()))]), on_event=[self.events.append], **settings
        )

    @property
    def decided(self) -> list[Event]:
        """
        What was told of requests.
        """
        return [one for one in self.events if isinstance(one, TokenAccepted | TokenRefused | KeysUnavailable)]


async def test_a_token_of_either_package_is_accepted() -> None:
    """
    Each is held against its own issuer, audience and scopes; the event names the package that let it in.
    """
    world = World()

    first = await ask(world.app, token=world.ours.token(scope="orders:read"))
    second = await ask(world.app, token=world.theirs.token(scope="feed", roles=["buyer"], sub="bob"))

    assert [first.status_code, second.status_code] == [200, 200]
    assert second.json() == {"operator": f"{world.theirs.url}#bob"}
    assert [(event.name, getattr(event, "package", None)) for event in world.decided] == [
        ("guardrail.token_accepted", "orders"),
        ("guardrail.token_accepted", "partners"),
    ]


REALMS = {"orders": "orders:read", "partners": "feed"}


def challenges(response: Any) -> list[str]:
    """
    The challenges of an answer, one for each field line.
    """
    return list(response.headers.get_list("www-authenticate"))


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(lambda _: None, id="no token"),
        pytest.param(lambda world: world.ours.token(scope="orders:read", aud="elsewhere"), id="audience"),
        pytest.param(lambda _: new_issuer("https://evil.example").token(scope="orders:read"), id="issuer"),
        pytest.param(lambda world: world.theirs.token(scope="feed", expires_in=-60), id="expired"),
    ],
)
async def test_a_token_that_is_valid_nowhere_is_challenged_by_each_package(token: Any) -> None:
    """
    401 with one challenge for each alternative, each with its own scopes, in the order written.
    """
    world = World()

    response = await ask(world.app, token=token(world))

    found = challenges(response)
    assert response.status_code == 401
    assert [one.partition(",")[0] for one in found] == ['Bearer realm="orders"', 'Bearer realm="partners"']
    assert ['scope="orders:read"' in found[0], 'scope="feed"' in found[1]] == [True, True]


@pytest.mark.parametrize(
    ("token", "realm", "code"),
    [
        pytest.param(
            lambda world: world.ours.token(scope="other"), "orders", "insufficient_scope", id="first"
        ),
        pytest.param(
            lambda world: world.theirs.token(scope="x"), "partners", "insufficient_scope", id="second"
        ),
        pytest.param(lambda world: world.theirs.token(scope="feed"), "partners", "role_missing", id="a role"),
    ],
)
async def test_a_valid_token_that_may_not_is_answered_by_its_own_package(
    token: Any, realm: str, code: str
) -> None:
    """
    403 with the one challenge that helps: the other package has nothing to do with it.
    """
    world = World()

    response = await ask(world.app, token=token(world))

    assert response.status_code == 403
    assert [one.partition(",")[0] for one in challenges(response)] == [f'Bearer realm="{realm}"']
    (event,) = world.decided
    assert isinstance(event, TokenRefused)
    assert (event.package, event.code) == (realm, code)


async def test_a_scope_of_one_package_is_none_of_the_other() -> None:
    """
    The token of one package does not borrow what the other asks for.
    """
    world = World()

    response = await ask(world.app, token=world.ours.token(scope="feed", roles=["buyer"]))

    assert response.status_code == 403


async def test_what_cannot_be_decided_is_not_refused() -> None:
    """
    One issuer is down: its tokens are 503, the other's are accepted, a forged one of the other's is 401.
    """
    world = World()
    world.theirs.go_down()

    unavailable = await ask(world.app, token=world.theirs.token(scope="feed", roles=["buyer"]))
    accepted = await ask(world.app, token=world.ours.token(scope="orders:read"))
    refused = await ask(world.app, token=world.ours.token(scope="orders:read")[:-8] + "AAAAAAAA")

    assert [unavailable.status_code, accepted.status_code, refused.status_code] == [503, 200, 401]
    assert isinstance(world.decided[0], KeysUnavailable)
    assert world.decided[0].package == "partners"


async def test_packages_of_one_issuer_are_told_apart_by_audience() -> None:
    """
    The same issuer, another audience: the second alternative takes what the first does not.
    """
    fake = new_issuer()
    reports = ServicePackage("reports", issuer=fake.issuer, audience="reports")
    route = any_of(package_of(fake).requires("orders:read"), reports.requires("reports:read"))
    app = GuardrailMiddleware(Starlette(routes=[Route("/orders", route(endpoint()))]))

    statuses = [
        (await ask(app, token=token)).status_code
        for token in (
            fake.token(scope="reports:read", aud="reports"),
            fake.token(scope="orders:read"),
            fake.token(scope="reports:read"),
            fake.token(scope="reports:read", aud="others"),
        )
    ]

    assert statuses == [200, 200, 403, 401]


async def test_an_assumed_operator_is_held_against_each() -> None:
    """
    In tests, too, any alternative will do, and none is skipped.
    """
    world = World()

    with as_operator(scopes=["feed"], roles=["buyer"]):
        accepted = await ask(world.app)
    with as_operator(scopes=["feed"]):
        refused = await ask(world.app)

    assert [accepted.status_code, refused.status_code] == [200, 403]


async def test_a_prefix_may_have_alternatives() -> None:
    """
    What cannot be decorated is declared the same way.
    """
    ours, theirs = new_issuer(), new_issuer("https://partner.example.org")
    route = any_of(package_of(ours).requires(), package_of(theirs, "partners").requires())
    app = GuardrailMiddleware(_hello, prefixes={"/orders": route})

    statuses = [(await ask(app, token=token)).status_code for token in (ours.token(), theirs.token(), None)]

    assert statuses == [200, 200, 401]


async def _hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def test_identical_challenges_stand_once() -> None:
    """
    Two requirements of one package that ask for the same scopes make one challenge.
    """
    fake = new_issuer()
    orders = package_of(fake)
    route = any_of(orders.requires("a", roles=["x"]), orders.requires("a", roles=["y"]))
    app = GuardrailMiddleware(Starlette(routes=[Route("/orders", route(endpoint()))]))

    response = await ask(app)

    assert len(challenges(response)) == 1


def test_alternatives_may_be_nested() -> None:
    """
    They are one list, in the order written, each once.
    """
    first, second, third = ORDERS.requires("a"), PARTNERS.requires("b"), ORDERS.requires("c")

    nested = any_of(any_of(first, second), third, second)

    assert nested.requirements == (first, second, third)
    assert str(nested) == "orders: a or partners: b or orders: c"


@pytest.mark.parametrize(
    ("several", "says"),
    [
        pytest.param((), "needs two different", id="none"),
        pytest.param((ORDERS.requires("a"),), "needs two different", id="one"),
        pytest.param((ORDERS.requires("a"), ORDERS.requires("a")), "needs two different", id="one twice"),
        pytest.param((ORDERS.requires("a"), ORDERS), "any_of() takes requirements", id="a package"),
        pytest.param((ORDERS.requires("a"), public), "any_of() takes requirements", id="public"),
        pytest.param(("orders:read", "feed"), "any_of() takes requirements", id="strings"),
    ],
)
def test_what_are_no_alternatives_is_refused_where_it_is_written(several: Any, says: str) -> None:
    """
    The message names the right form. Nothing is ever "public or".
    """
    with pytest.raises(PolicyError) as caught:
        any_of(*several)

    assert says in str(caught.value)


def test_declaring_twice_is_refused_with_alternatives_too() -> None:
    """
    One decorator names everything a route needs.
    """
    route = any_of(ORDERS.requires("a"), PARTNERS.requires("b"))

    @route
    def read() -> None: ...

    with pytest.raises(PolicyError, match="declared twice"):
        ORDERS.requires("a")(read)


@pytest.mark.parametrize(
    ("requirement", "found"),
    [
        pytest.param(None, (), id="public"),
        pytest.param(ORDERS.requires("a"), (ORDERS.requires("a"),), id="one"),
        pytest.param(
            any_of(ORDERS.requires("a"), PARTNERS.requires()),
            (ORDERS.requires("a"), PARTNERS.requires()),
            id="two",
        ),
    ],
)
def test_requirements_of_a_declaration(requirement: object, found: tuple[Requirement, ...]) -> None:
    """
    A public one has none.
    """
    assert requirements_of(requirement) == found
