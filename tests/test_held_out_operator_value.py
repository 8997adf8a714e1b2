"""
Held out: an operator as a value. Nothing in it is changed, nothing private is told, and no two are mixed up.

Written from the contract before the code was read.
"""

import asyncio
import copy
import dataclasses
import logging
import pickle
from collections.abc import Callable
from typing import Any, Final

import pytest
from held_out_kit import bearer, request, send_request
from operator_kit import NOW, URLS, Stand, ask, expected, package, token, told
from starlette.applications import Starlette
from starlette.authentication import requires
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from guardrail import Actor, ClientRegistration, GuardrailMiddleware, Operator, current_operator


def operator_of(changes: Any = None, **settings: Any) -> Operator:
    """
    The operator of a token.
    """
    operator = ask(package(**settings).requires(), token("default", changes)).operator
    assert operator is not None
    return operator


def everything() -> Operator:
    """
    An operator with something in each field.
    """
    deep = {"app": {"list": [{"x": 1}, ["y"]]}, "act": {"sub": "gw", "act": {"sub": "bot"}}, "ag": ["A"]}
    return operator_of(deep, mapping={"access_groups": "ag"})


@pytest.mark.parametrize("name", [*expected("default"), "claims", "is_delegated", "token_value", "x"])
def test_fields_are_not_changed(name: str) -> None:
    """
    Nothing is set or deleted on an operator.
    """
    operator = everything()

    with pytest.raises((AttributeError, TypeError)):
        setattr(operator, name, "root")
    with pytest.raises((AttributeError, TypeError)):
        delattr(operator, name)


def test_nothing_in_an_operator_is_changed() -> None:
    """
    Not its claims at any depth, its actors or its token facts; nor is there a dictionary to go around them.
    """
    operator: Any = everything()
    claims = operator.claims
    changes: list[Callable[[], object]] = [
        lambda: claims.__setitem__("sub", "root"),
        lambda: claims.pop("sub"),
        lambda: claims.update(sub="root"),
        lambda: claims["app"].__setitem__("list", []),
        lambda: claims["app"]["list"].append("z"),
        lambda: claims["app"]["list"][0].__setitem__("x", 2),
        lambda: claims["app"]["list"][1].append("z"),
        lambda: claims["roles"].append("root"),
        lambda: claims["act"].pop("sub"),
        lambda: operator.roles.add("root"),
        lambda: operator.scopes.add("root"),
        lambda: operator.access_groups.append("root"),
        lambda: operator.token.amr.append("x"),
        lambda: setattr(operator.token, "acr", "gold"),
        lambda: setattr(operator.actors[0], "subject", "root"),
        lambda: vars(operator),
        lambda: vars(operator.token),
        lambda: vars(operator.actors[0]),
    ]

    for change in changes:
        with pytest.raises((AttributeError, TypeError)):
            change()
    assert operator.claims["app"]["list"][0]["x"] == 1
    assert operator.actors == (Actor("gw"), Actor("bot"))


@pytest.mark.parametrize(
    "way",
    [
        copy.copy,
        copy.deepcopy,
        lambda o: pickle.loads(pickle.dumps(o)),  # noqa: S301
        dataclasses.replace,
    ],
    ids=["copy", "deepcopy", "pickle", "replace"],
)
def test_copies_are_equal_and_as_frozen(way: Any) -> None:
    """
    A copy is the same operator, and no way to a changeable one.
    """
    operator = everything()

    twin = way(operator)

    assert (told(twin), twin.claims, twin) == (told(operator), operator.claims, operator)
    assert (type(twin), hash(twin)) == (Operator, hash(operator))
    with pytest.raises((AttributeError, TypeError)):
        twin.claims["app"]["list"].append("z")
    with pytest.raises((AttributeError, TypeError)):
        twin.roles = frozenset({"root"})


SECRETS: Final = ["ada@private.example", "Confidential", "sid-secret"]


def test_nothing_private_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """
    No e-mail address, claim or token is in what an operator looks like, nor in logs, events or errors.
    """
    caplog.set_level(logging.DEBUG)
    stand = Stand(package().requires("stock:read", roles=["boss"]))
    private = {"email": "ada@private.example", "sid": "sid-secret", "note": ["Confidential"]}
    signed = token("default", private)
    operator = operator_of(private)

    refused = asyncio.run(stand.ask(signed))

    heard = [*map(repr, stand.events), *map(str, stand.events), caplog.text, refused.body]
    seen = [
        repr(operator),
        str(operator),
        f"{operator}",
        f"{operator!r:>9}",
        repr(operator.token),
        repr([operator, operator.claims]),
    ]
    assert refused.code == "role_missing"
    for text in heard + seen:
        assert not any(secret in text for secret in SECRETS)
        assert signed[-20:] not in text
        assert signed[:40] not in text


def test_starlette_knows_the_operator() -> None:
    """
    User, auth and state are one operator, in Starlette's shapes: its own decorator asks for scopes.
    """
    seen: list[Any] = []
    stock = package()

    @stock.requires()
    @requires("stock:count")
    async def count(request: Any) -> PlainTextResponse:
        seen.append((request.user, request.auth, request.state.operator, current_operator()))
        return PlainTextResponse("")

    @stock.requires()
    @requires("stock:admin", status_code=418)
    async def administer(request: Any) -> PlainTextResponse:
        raise AssertionError

    app = Starlette(routes=[Route("/count", count), Route("/admin", administer)])
    app.add_middleware(GuardrailMiddleware, clock=lambda: NOW)
    client = TestClient(app, headers={"Authorization": f"Bearer {token('default')}"})
    statuses = [client.get(path).status_code for path in ("/count", "/admin")]

    assert statuses == [200, 418]
    user, auth, state, current = seen[0]
    assert user is auth is state is current
    assert (user.is_authenticated, user.display_name, user.identity) == (True, "ada", user.operator_id)
    assert set(auth.scopes) == {"stock:read", "stock:count"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"mapping": {"roles": "groups"}}, {"mapping": {"roles": "entitlements"}}),
        ({}, {"clients": [ClientRegistration("shop", scopes=[])]}),
        ({}, {"mapping": {"subject": "email"}}),
        ({"mapping": {"roles": "groups"}, "profile": "okta"}, {}),
    ],
    ids=["mappings", "registrations", "subject", "profiles"],
)
def test_one_token_makes_each_package_its_own_operator(first: Any, second: Any) -> None:
    """
    What the token cache keeps for one package is not served to another that reads the issuer otherwise.
    """
    changes = {"uid": "u-77", "cid": "shop"}
    packages = [package(**{"profile": "default", "url": URLS["default"], **each}) for each in (first, second)]
    alone = [told(ask(each.requires(), token("default", changes)).operator) for each in packages]  # type: ignore[arg-type]
    assert alone[0] != alone[1]
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(told(current_operator()))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    prefixes = {f"/{number}": each.requires() for number, each in enumerate(packages)}
    guarded = GuardrailMiddleware(app, prefixes=prefixes, clock=lambda: NOW)
    one = token("default", changes)

    async def serve() -> None:
        for path in ("/0", "/1", "/0", "/1"):
            await send_request(guarded, request(path, fields=bearer(one)))

    asyncio.run(serve())

    assert seen == alone * 2
