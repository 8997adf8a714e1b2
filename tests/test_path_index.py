"""
Which of a router's routes are asked whether they match: all that can, in order, and few that cannot.
"""

import re
from typing import Any

import pytest
from starlette.routing import Host, Match, Mount, Route, Router, WebSocketRoute

from guardrail._path_index import PathIndex, template_of


def nothing() -> None:
    """
    An endpoint.
    """


TEMPLATES = (
    "/orders",  # 0
    "/orders/{id}",  # 1
    "/orders/{id}/parts/{part}",  # 2
    "/{anything}",  # 3
    "/orders",  # 4
    None,  # 5: a matcher nobody knows
    "/orders/",  # 6
    "/order{name}",  # 7
    "/files/{path:path}",  # 8: as a mount's
    "/",  # 9
)


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        pytest.param("/orders", (0, 1, 2, 3, 4, 5, 7), id="a literal template, and what is below it"),
        pytest.param("/orders/", (1, 2, 3, 5, 6, 7), id="a slash is a segment more"),
        pytest.param("/orders/7", (1, 2, 3, 5, 7), id="a parameter"),
        pytest.param("/orders/7/parts/1", (1, 2, 3, 5, 7), id="segments behind a parameter do not count"),
        pytest.param("/other", (3, 5, 7), id="what begins with a parameter"),
        pytest.param("/files", (3, 5, 7, 8), id="a mount without its slash"),
        pytest.param("/files/", (3, 5, 7, 8), id="a mount's own root"),
        pytest.param("/files/a/b", (3, 5, 7, 8), id="below a mount"),
        pytest.param("/", (3, 5, 7, 9), id="the root"),
        pytest.param("//orders", (3, 5, 7), id="an empty segment"),
        pytest.param("/ORDERS", (3, 5, 7), id="another case"),
        pytest.param("/orders\n", tuple(range(10)), id="a line feed at the end, before which $ matches"),
        pytest.param("", tuple(range(10)), id="no path"),
        pytest.param("*", tuple(range(10)), id="an asterisk"),
        pytest.param("orders", tuple(range(10)), id="no slash"),
    ],
)
def test_who_is_asked(path: str, asked: tuple[int, ...]) -> None:
    """
    Everybody who can match, in the router's order; and of the others only those that begin alike.
    """
    assert PathIndex(TEMPLATES).candidates(path) == asked


def test_an_empty_router_asks_nobody() -> None:
    """
    There is nobody to ask.
    """
    index = PathIndex([])

    assert [index.candidates(path) for path in ("/", "/a", "")] == [(), (), ()]


class Odd(Route):
    """
    A route that matches in its own way.
    """

    def matches(self, scope: Any) -> tuple[Match, Any]:
        """
        Match everything.
        """
        return Match.FULL, {}


def with_another_pattern() -> Route:
    """
    A route whose pattern was replaced after it was made.
    """
    route = Route("/orders", nothing)
    route.path_regex = re.compile("^/invoices$")
    return route


@pytest.mark.parametrize(
    ("route", "template"),
    [
        pytest.param(Route("/orders/{id:int}", nothing), "/orders/{id:int}", id="route"),
        pytest.param(WebSocketRoute("/feed", nothing), "/feed", id="websocket"),
        pytest.param(Mount("/files", Router()), "/files/{path:path}", id="mount"),
        pytest.param(Mount("/files/", Router()), "/files/{path:path}", id="mount with a slash"),
        pytest.param(Mount("", Router()), "/{path:path}", id="mount at the root"),
        pytest.param(Host("api.example.com", Router()), None, id="host"),
        pytest.param(Odd("/orders", nothing), None, id="a matches of its own"),
        pytest.param(with_another_pattern(), None, id="another pattern"),
    ],
)
def test_the_template_a_route_matches_by(route: Any, template: str | None) -> None:
    """
    Only of a route that matches as the framework has it, by the pattern of its own path, it is known.
    """
    assert template_of(route, route) == template
