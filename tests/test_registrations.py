"""
Client registrations: who may call, and as whom; a person never with a machine's authority.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from road_kit import ask, new_issuer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from guardrail import (
    ClientRegistration,
    GuardrailMiddleware,
    Issuer,
    Operator,
    ServicePackage,
    current_operator,
)
from guardrail._registration import RegisteredClients, registrations
from guardrail.errors import OperatorRefusedError, PolicyError
from guardrail.events import Event, TokenRefused
from guardrail.testing import FakeIssuer

pytestmark = pytest.mark.anyio

URL = "https://login.example.com"
NIGHTLY = ClientRegistration(
    "nightly",
    operator_id="svc-nightly",
    access_groups=["Orders:Batch", "Orders:Api"],
    roles=["importer"],
    scopes=["orders:read", "orders:import"],
)
USER = Operator(
    operator_id=f"{URL}#alice",
    kind="user",
    issuer=URL,
    subject="alice",
    client_id="nightly",
    scopes=frozenset({"orders:read", "orders:write"}),
    roles=frozenset({"clerk"}),
    access_groups=("Orders:Clerks",),
    access_group="Orders:Clerks",
)
MACHINE = replace(USER, operator_id=f"{URL}#nightly", kind="service", subject="nightly")


# What is written


def test_a_registration_is_what_was_written_in_a_form_that_cannot_change() -> None:
    """
    Access groups keep their order, the first being the active one; the rest are sets.
    """
    groups = ["Orders:Batch", "Orders:Api", "Orders:Batch"]

    one = ClientRegistration(
        "nightly", access_groups=groups, roles={"importer"}, scopes=iter(["orders:read"])
    )
    groups.clear()

    assert one.access_groups == ("Orders:Batch", "Orders:Api")
    assert (one.roles, one.scopes) == (frozenset({"importer"}), frozenset({"orders:read"}))
    assert (one.operator_id, one.enabled) == (None, True)
    with pytest.raises(FrozenInstanceError):
        one.enabled = False  # type: ignore[misc]


def test_nothing_and_none_are_different() -> None:
    """
    None keeps what the token says, an empty list takes it away.
    """
    one, other = (
        ClientRegistration("nightly"),
        ClientRegistration("nightly", access_groups=[], roles=(), scopes=[]),
    )

    assert (one.access_groups, one.roles, one.scopes) == (None, None, None)
    assert (other.access_groups, other.roles, other.scopes) == ((), frozenset(), frozenset())
    assert one != other


def test_registrations_are_compared_by_value() -> None:
    """
    The same in another spelling is the same; one difference is another.
    """
    one = ClientRegistration("nightly", roles=["a", "b"], scopes=["x"])

    assert one == ClientRegistration("nightly", roles={"b", "a"}, scopes=("x",))
    assert hash(one) == hash(ClientRegistration("nightly", roles={"b", "a"}, scopes=("x",)))
    assert one != replace(one, enabled=False)


@pytest.mark.parametrize(
    ("client_id", "settings", "says"),
    [
        pytest.param("", {}, 'such as "orders-batch"', id="no client"),
        pytest.param(None, {}, 'such as "orders-batch"', id="None for a client"),
        pytest.param(7, {}, 'such as "orders-batch"', id="a number for a client"),
        pytest.param("nightly", {"operator_id": ""}, 'such as "svc-orders"', id="empty operator"),
        pytest.param("nightly", {"operator_id": 7}, 'such as "svc-orders"', id="a number for an operator"),
        pytest.param(
            "nightly", {"access_groups": "Orders:Api"}, r'such as \["Orders:Api"\]', id="bare access group"
        ),
        pytest.param("nightly", {"access_groups": [7]}, r'such as \["Orders:Api"\]', id="access groups"),
        pytest.param("nightly", {"roles": "importer"}, r'such as \["approver"\]', id="bare role"),
        pytest.param("nightly", {"roles": [""]}, r'such as \["approver"\]', id="empty role"),
        pytest.param("nightly", {"roles": False}, r'such as \["approver"\]', id="False for roles"),
        pytest.param("nightly", {"scopes": "orders:read"}, r'such as \["orders:read"\]', id="bare scope"),
        pytest.param("nightly", {"scopes": ["a b"]}, "not one scope", id="two scopes in one"),
        pytest.param("nightly", {"enabled": "yes"}, "enabled must be True or False", id="enabled in words"),
        pytest.param("nightly", {"enabled": None}, "enabled must be True or False", id="None for enabled"),
    ],
)
def test_a_wrong_registration_is_refused_where_it_is_written(
    client_id: Any, settings: Mapping[str, Any], says: str
) -> None:
    """
    The message has the right form.
    """
    with pytest.raises(PolicyError, match=says):
        ClientRegistration(client_id, **settings)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        pytest.param({"clients": NIGHTLY}, "several ClientRegistration", id="one alone"),
        pytest.param({"clients": "nightly"}, "several ClientRegistration", id="a bare name"),
        pytest.param({"clients": ["nightly"]}, "several ClientRegistration", id="names"),
        pytest.param({"clients": None}, "several ClientRegistration", id="None"),
        pytest.param({"clients": [NIGHTLY, None]}, "several ClientRegistration", id="one that is none"),
        pytest.param(
            {"clients": [NIGHTLY, ClientRegistration("nightly", enabled=False)]},
            "'nightly' twice",
            id="twice",
        ),
        pytest.param({"clients": [NIGHTLY, NIGHTLY]}, "'nightly' twice", id="the same one twice"),
        pytest.param({"unregistered_clients": "deny"}, "allow, refuse", id="another word"),
        pytest.param({"unregistered_clients": False}, "allow, refuse", id="a flag"),
        pytest.param({"unregistered_clients": None}, "allow, refuse", id="no word"),
    ],
)
def test_wrong_clients_of_an_issuer_are_refused(settings: Any, says: str) -> None:
    """
    An issuer with a client twice, or with something else for clients, cannot be made.
    """
    with pytest.raises(PolicyError, match=says):
        Issuer(URL, **settings)


def test_clients_are_part_of_an_issuer() -> None:
    """
    Issuers with other clients are other issuers; the order in which clients are written is no difference.
    """
    web = ClientRegistration("web")
    one = Issuer(URL, clients=[NIGHTLY, web])

    assert one == Issuer(URL, clients=(web, NIGHTLY))
    assert hash(one) == hash(Issuer(URL, clients=(web, NIGHTLY)))
    assert one != Issuer(URL, clients=[replace(NIGHTLY, enabled=False), web])
    assert one != Issuer(URL)
    assert Issuer(URL) != Issuer(URL, unregistered_clients="refuse")
    assert len({one, Issuer(URL), Issuer(URL, unregistered_clients="refuse")}) == 3
    assert replace(one, leeway=5.0).clients == (NIGHTLY, web)


def test_where_only_the_client_tells_there_must_be_clients() -> None:
    """
    For a profile that pins the client, no registrations is a mistake.
    """
    assert registrations([NIGHTLY], are_required=True) == (NIGHTLY,)
    with pytest.raises(PolicyError, match=r"it needs clients=\[ClientRegistration"):
        registrations([], are_required=True)
    assert registrations([]) == ()


# What comes of it


def registered(
    registration: ClientRegistration,
    *,
    refuse_unregistered: bool = False,
    kind_from_registration: bool = False,
) -> RegisteredClients:
    return RegisteredClients(
        [registration],
        refuse_unregistered=refuse_unregistered,
        kind_from_registration=kind_from_registration,
    )


def test_a_machine_acts_as_the_operator_of_its_registration() -> None:
    """
    Operator, access groups and roles are the registration's, scopes those that both name.
    """
    operator = registered(NIGHTLY).apply(MACHINE)

    assert operator == replace(
        MACHINE,
        operator_id="svc-nightly",
        access_groups=("Orders:Batch", "Orders:Api"),
        access_group="Orders:Batch",
        roles=frozenset({"importer"}),
        scopes=frozenset({"orders:read"}),
    )


def test_a_person_keeps_to_himself() -> None:
    """
    The same client's token for a user takes nothing but the ceiling.
    """
    operator = registered(NIGHTLY).apply(USER)

    assert operator == replace(USER, scopes=frozenset({"orders:read"}))


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param({"operator_id": "svc"}, {"operator_id": "svc"}, id="operator alone"),
        pytest.param({"roles": []}, {"roles": frozenset()}, id="no roles"),
        pytest.param(
            {"access_groups": []}, {"access_groups": (), "access_group": None}, id="no access groups"
        ),
        pytest.param({"scopes": []}, {"scopes": frozenset()}, id="no scopes"),
        pytest.param({"scopes": ["orders:audit"]}, {"scopes": frozenset()}, id="none of its scopes"),
        pytest.param(
            {"scopes": ["orders:audit", "orders:write", "orders:read"]}, {}, id="more scopes than it has"
        ),
        pytest.param(
            {"access_groups": ["Orders:Api"]},
            {"access_groups": ("Orders:Api",), "access_group": "Orders:Api"},
            id="access groups alone",
        ),
    ],
)
def test_each_setting_replaces_its_own_field(settings: Any, changes: Any) -> None:
    """
    What a registration does not say stays as the token has it.
    """
    registration = ClientRegistration("nightly", **settings)

    assert registered(registration).apply(MACHINE) == replace(MACHINE, **changes)


@pytest.mark.parametrize("operator", [USER, MACHINE], ids=lambda one: one.kind)
def test_every_token_of_a_disabled_client_is_refused(operator: Operator) -> None:
    """
    A user's as well as its own.
    """
    with pytest.raises(OperatorRefusedError) as caught:
        registered(replace(NIGHTLY, enabled=False)).apply(operator)

    assert (caught.value.code, caught.value.status) == ("client_not_allowed", 403)
    assert "nightly" not in str(caught.value)
    assert registered(replace(NIGHTLY, enabled=True)).apply(operator) is not None


@pytest.mark.parametrize("client_id", [None, "web", "Nightly", "nightly "], ids=repr)
def test_an_unregistered_client_is_refused_where_that_is_asked_for(client_id: str | None) -> None:
    """
    Names are compared exactly; who names no client is of none that is registered.
    """
    operator = replace(USER, client_id=client_id)

    assert registered(NIGHTLY).apply(operator) is operator
    with pytest.raises(OperatorRefusedError) as caught:
        registered(NIGHTLY, refuse_unregistered=True).apply(operator)
    assert caught.value.code == "client_not_allowed"
    assert registered(NIGHTLY, refuse_unregistered=True).apply(USER).subject == "alice"


def test_where_a_registration_tells_the_kind() -> None:
    """
    With a profile whose tokens do not mark machines, a registration with an operator does; others do not.
    """
    without = replace(NIGHTLY, operator_id=None)

    machine = registered(NIGHTLY, kind_from_registration=True).apply(USER)
    person = registered(without, kind_from_registration=True).apply(USER)

    assert (machine.kind, machine.operator_id, machine.roles) == ("service", "svc-nightly", NIGHTLY.roles)
    assert machine.access_group == "Orders:Batch"
    assert (person.kind, person.operator_id, person.roles) == ("user", USER.operator_id, USER.roles)


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        pytest.param({}, {"roles", "access_groups", "groups"}, id="nothing"),
        pytest.param({"roles": []}, {"access_groups", "groups"}, id="roles"),
        pytest.param({"access_groups": []}, {"roles", "groups"}, id="access groups"),
        pytest.param({"operator_id": "svc"}, {"roles", "access_groups", "groups"}, id="operator"),
    ],
)
def test_what_a_registration_gives_is_not_left_out_any_more(settings: Any, left: set[str]) -> None:
    """
    A list that overage left out of the token is known again when a later step gives it; for a machine alone.
    """
    machine = replace(MACHINE, _left_out=frozenset({"roles", "access_groups", "groups"}))
    clients = registered(ClientRegistration("nightly", **settings))

    assert clients.apply(machine)._left_out == left
    assert clients.apply(replace(machine, kind="user"))._left_out == {"roles", "access_groups", "groups"}


# Through the middleware


def guarded(
    fake: FakeIssuer,
    clients: Iterable[ClientRegistration],
    heard: list[Event] | None = None,
    *,
    unregistered_clients: Any = "allow",
    **settings: Any,
) -> ASGIApp:
    """
    One route that shows its operator.
    """
    issuer = replace(fake.issuer, clients=clients, unregistered_clients=unregistered_clients)
    orders = ServicePackage("orders", issuer=issuer, audience=fake.audience)

    @orders.requires("orders:read")
    async def show(_: Request) -> JSONResponse:
        operator = current_operator()
        return JSONResponse(
            {
                "operator_id": operator.operator_id,
                "kind": operator.kind,
                "scopes": sorted(operator.scopes),
                "roles": sorted(operator.roles),
                "access_groups": operator.access_groups,
                "access_group": operator.access_group,
            }
        )

    listeners = [] if heard is None else [heard.append]
    return GuardrailMiddleware(Starlette(routes=[Route("/orders", show)]), on_event=listeners, **settings)


def machine_token(fake: FakeIssuer, client_id: str = "nightly", **claims: Any) -> str:
    return fake.token(sub=client_id, client_id=client_id, **{"scope": "orders:read orders:write", **claims})


async def test_a_machine_is_served_as_its_operator() -> None:
    """
    The handler sees the registration's operator, with the first request and with those from the cache.
    """
    fake = new_issuer()
    app, token = guarded(fake, [NIGHTLY]), machine_token(fake)

    answers = [await ask(app, token=token) for _ in range(2)]

    assert [answer.json() for answer in answers] == [
        {
            "operator_id": "svc-nightly",
            "kind": "service",
            "scopes": ["orders:read"],
            "roles": ["importer"],
            "access_groups": ["Orders:Batch", "Orders:Api"],
            "access_group": "Orders:Batch",
        }
    ] * 2


async def test_a_user_of_the_same_client_is_served_as_himself() -> None:
    """
    A person's token takes the scope ceiling and nothing else.
    """
    fake = new_issuer()
    token = fake.token(sub="alice", client_id="nightly", scope="orders:read orders:write", roles=["clerk"])

    answer = await ask(guarded(fake, [NIGHTLY]), token=token)

    assert answer.json() == {
        "operator_id": f"{URL}#alice",
        "kind": "user",
        "scopes": ["orders:read"],
        "roles": ["clerk"],
        "access_groups": [],
        "access_group": None,
    }


REFUSED: list[Any] = [
    pytest.param([replace(NIGHTLY, enabled=False)], "allow", machine_token, id="disabled, its own token"),
    pytest.param(
        [replace(NIGHTLY, enabled=False)],
        "allow",
        lambda fake: fake.token(client_id="nightly", scope="orders:read"),
        id="disabled, a user's token",
    ),
    pytest.param(
        [NIGHTLY], "refuse", lambda fake: fake.token(client_id="web", scope="orders:read"), id="unregistered"
    ),
    pytest.param(
        [NIGHTLY], "refuse", lambda fake: fake.token(client_id=None, scope="orders:read"), id="no client"
    ),
    pytest.param([], "refuse", machine_token, id="none is registered"),
    pytest.param(
        [replace(NIGHTLY, enabled=False)],
        "allow",
        lambda fake: fake.token(client_id="nightly", scope="other"),
        id="disabled, and without the scope",
    ),
]


@pytest.mark.parametrize(("clients", "unregistered", "token"), REFUSED)
async def test_a_client_that_may_not_call_is_refused(
    clients: Any, unregistered: str, token: Callable[[FakeIssuer], str]
) -> None:
    """
    403 that says neither that the token is invalid nor which scope to ask for; told with its code, each time.
    """
    fake, heard = new_issuer(), list[Event]()
    app, sent = guarded(fake, clients, heard, unregistered_clients=unregistered), token(fake)

    answers = [await ask(app, token=sent) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert {answer.headers["www-authenticate"].split(", resource_metadata")[0] for answer in answers} == {
        'Bearer realm="orders"'
    }
    assert "error" not in answers[0].json()
    told = [event for event in heard if isinstance(event, TokenRefused)]
    assert [event.code for event in told] == ["client_not_allowed"] * 2
    assert "nightly" not in repr(told)


async def test_registered_and_unregistered_clients_are_served_where_they_may_be() -> None:
    """
    What differs from the refusals in one thing each is served.
    """
    fake = new_issuer()
    web = fake.token(client_id="web", scope="orders:read")
    refusing = guarded(fake, [NIGHTLY], unregistered_clients="refuse")

    assert (await ask(guarded(fake, [NIGHTLY]), token=web)).status_code == 200
    assert (await ask(refusing, token=machine_token(fake))).status_code == 200


async def test_a_ceiling_that_takes_a_scope_away_is_a_lack_of_scope() -> None:
    """
    Then a client may be told which: 403 with insufficient_scope.
    """
    fake = new_issuer()
    app = guarded(fake, [ClientRegistration("nightly", scopes=["orders:write"])])

    answer = await ask(app, token=machine_token(fake))

    assert answer.status_code == 403
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


async def test_refusals_never_enter_the_token_cache() -> None:
    """
    A refused client's tokens push nobody else's out.
    """
    fake = new_issuer()
    app = guarded(fake, [replace(NIGHTLY, enabled=False)], token_cache_size=1)
    assert isinstance(app, GuardrailMiddleware)
    cache = app._compiler._cache
    await ask(app, token=fake.token(client_id="web", scope="orders:read"))
    before = dict(cache._tokens)

    answer = await ask(app, token=machine_token(fake))

    assert answer.status_code == 403
    assert len(before) == 1
    assert dict(cache._tokens) == before


async def test_packages_with_other_registrations_are_apart() -> None:
    """
    The same issuer with other clients in another package gives the same token another operator.
    """
    fake = new_issuer()
    one, other = (
        ServicePackage(
            name,
            issuer=replace(fake.issuer, clients=[replace(NIGHTLY, operator_id=name)]),
            audience=fake.audience,
        )
        for name in ("orders", "invoices")
    )

    async def show(_: Request) -> JSONResponse:
        return JSONResponse(current_operator().operator_id)

    async def show_too(_: Request) -> JSONResponse:
        return JSONResponse(current_operator().operator_id)

    routes = [Route("/orders", one.requires()(show)), Route("/invoices", other.requires()(show_too))]
    app, token = GuardrailMiddleware(Starlette(routes=routes)), machine_token(fake)

    assert (await ask(app, "/orders", token=token)).json() == "orders"
    assert (await ask(app, "/invoices", token=token)).json() == "invoices"
