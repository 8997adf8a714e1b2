"""
The authorization endpoint: whom it tells what, and where it sends the browser.
"""

from dataclasses import replace

import httpx
import pytest

from .builders import (
    CALLBACK,
    OTHER_WEB,
    SERVICE,
    URL,
    WEB,
    Clock,
    an_issuer,
    answer_of,
    authorization_parameters,
    changed,
    connect,
    request_id_of,
)

pytestmark = pytest.mark.anyio

ALLOW = {"user": "bob", "decision": "allow"}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"client_id": None}, id="no client"),
        pytest.param({"client_id": "nobody"}, id="unknown client"),
        pytest.param({"redirect_uri": None}, id="no redirect URI"),
        pytest.param({"redirect_uri": "https://evil.example.com/"}, id="unknown redirect URI"),
        pytest.param({"redirect_uri": CALLBACK + "/"}, id="redirect URI with a slash more"),
        pytest.param({"redirect_uri": CALLBACK + "?a=b"}, id="redirect URI with a query more"),
        pytest.param({"client_id": "orders-service"}, id="redirect URI of another client"),
    ],
)
async def test_untrusted_redirect_uri_is_never_redirected_to(changes: dict[str, str | None]) -> None:
    """While client and redirect URI are not known to belong together, the user gets a page."""
    async with connect(an_issuer(WEB, SERVICE)) as http:
        response = await http.get("/authorize", params=authorization_parameters(**changes))

    assert response.status_code == 400
    assert "location" not in response.headers
    assert "Request refused" in response.text
    assert "evil" not in response.text


async def test_repeated_parameter_is_never_redirected() -> None:
    """A request with two redirect URIs is refused on a page, even when one is good."""
    twice = httpx.QueryParams(authorization_parameters()).add("redirect_uri", "https://evil.example.com/")

    async with connect(an_issuer(WEB)) as http:
        response = await http.get("/authorize", params=twice)

    assert response.status_code == 400
    assert "location" not in response.headers


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        pytest.param({"response_type": None}, "invalid_request", id="no response type"),
        pytest.param({"response_type": "token"}, "unsupported_response_type", id="implicit"),
        pytest.param({"code_challenge": None}, "invalid_request", id="no challenge"),
        pytest.param({"code_challenge": "short"}, "invalid_request", id="bad challenge"),
        pytest.param({"code_challenge_method": None}, "invalid_request", id="no method"),
        pytest.param({"code_challenge_method": "plain"}, "invalid_request", id="plain"),
        pytest.param({"scope": "orders:delete"}, "invalid_scope", id="unknown scope"),
        pytest.param({"resource": "https://other.example.com"}, "invalid_target", id="unknown audience"),
    ],
)
async def test_request_that_differs_in_one_thing_tells_the_client(
    changes: dict[str, str | None], error: str
) -> None:
    """Once client and redirect URI are good, the client is told what is wrong, with state and issuer."""
    async with connect(an_issuer(WEB)) as http:
        response = await http.get("/authorize", params=authorization_parameters(**changes))

    answer = answer_of(response)
    assert answer.pop("error_description")
    assert answer == {"error": error, "state": "a b&c", "iss": URL}


async def test_client_without_the_code_grant_is_told() -> None:
    """A client with redirect URIs but without the grant is told that it may not."""
    client = replace(SERVICE, redirect_uris=[CALLBACK])

    async with connect(an_issuer(client)) as http:
        response = await http.get("/authorize", params=authorization_parameters(client_id="orders-service"))

    assert answer_of(response)["error"] == "unauthorized_client"


async def test_allowing_redirects_with_code_state_and_issuer() -> None:
    """Allow sends the browser back with a code, the state unchanged, and the issuer's name."""
    async with connect(an_issuer(WEB)) as http:
        page = await http.get("/authorize", params=authorization_parameters())
        response = await http.post("/authorize", data=ALLOW | {"request_id": request_id_of(page.text)})

    answer = answer_of(response)
    assert answer.pop("code")
    assert answer == {"state": "a b&c", "iss": URL}
    assert response.headers["cache-control"] == "no-store"


async def test_denying_redirects_with_access_denied() -> None:
    """Deny sends the browser back with an error and no code."""
    async with connect(an_issuer(WEB)) as http:
        page = await http.get("/authorize", params=authorization_parameters())
        response = await http.post(
            "/authorize", data={"decision": "deny", "request_id": request_id_of(page.text)}
        )

    answer = answer_of(response)
    assert answer.pop("error_description")
    assert answer == {"error": "access_denied", "state": "a b&c", "iss": URL}


async def test_request_without_state_is_answered_without() -> None:
    """A state that was not sent is not invented."""
    async with connect(an_issuer(WEB)) as http:
        page = await http.get("/authorize", params=authorization_parameters(state=None))
        response = await http.post("/authorize", data=ALLOW | {"request_id": request_id_of(page.text)})

    assert set(answer_of(response)) == {"code", "iss"}


async def test_query_of_the_redirect_uri_is_kept() -> None:
    """A redirect URI with a query keeps it; the answer is added."""
    client = replace(WEB, redirect_uris=[CALLBACK + "?a=b"])

    async with connect(an_issuer(client)) as http:
        page = await http.get("/authorize", params=authorization_parameters(redirect_uri=CALLBACK + "?a=b"))
        response = await http.post("/authorize", data=ALLOW | {"request_id": request_id_of(page.text)})

    assert answer_of(response)["a"] == "b"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"request_id": None}, id="no request ID"),
        pytest.param({"request_id": "unknown"}, id="unknown request ID"),
        pytest.param({"decision": None}, id="no decision"),
        pytest.param({"decision": "maybe"}, id="unknown decision"),
        pytest.param({"user": None}, id="no user"),
        pytest.param({"user": "mallory"}, id="unknown user"),
    ],
)
async def test_decision_that_is_not_the_pages_is_refused(changes: dict[str, str | None]) -> None:
    """A form that the page could not have sent gets a page and no redirect."""
    async with connect(an_issuer(WEB)) as http:
        page = await http.get("/authorize", params=authorization_parameters())
        form = changed(ALLOW | {"request_id": request_id_of(page.text)}, **changes)
        response = await http.post("/authorize", data=form)

    assert response.status_code == 400
    assert "location" not in response.headers


async def test_page_is_used_once() -> None:
    """A second decision on one page is refused."""
    async with connect(an_issuer(WEB, OTHER_WEB)) as http:
        page = await http.get("/authorize", params=authorization_parameters())
        form = ALLOW | {"request_id": request_id_of(page.text)}
        first = await http.post("/authorize", data=form)
        second = await http.post("/authorize", data=form)

    assert first.status_code == 303
    assert second.status_code == 400


@pytest.mark.parametrize(
    ("age", "status"), [pytest.param(599.9, 303, id="just in time"), pytest.param(600.0, 400, id="too late")]
)
async def test_page_waits_ten_minutes(age: float, status: int) -> None:
    """A page can be decided on within ten minutes, and not after."""
    clock = Clock()

    async with connect(an_issuer(WEB, clock=clock)) as http:
        page = await http.get("/authorize", params=authorization_parameters())
        clock.now += age
        response = await http.post("/authorize", data=ALLOW | {"request_id": request_id_of(page.text)})

    assert response.status_code == status


async def test_authorization_endpoint_of_an_issuer_with_a_path_answers_below_it() -> None:
    """The form of a page below the issuer's path leads back below it."""
    async with connect(an_issuer(WEB, url=f"{URL}/tenants/a")) as http:
        page = await http.get("/tenants/a/authorize", params=authorization_parameters())
        form = ALLOW | {"request_id": request_id_of(page.text)}
        response = await http.post("/tenants/a/authorize", data=form)

    assert 'action="authorize"' in page.text
    assert answer_of(response)["iss"] == f"{URL}/tenants/a"
