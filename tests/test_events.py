"""
Events: frozen records with closed sets of labels, and listeners that never decide.
"""

import dataclasses
import importlib
import logging
import pkgutil
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail import events
from guardrail.errors import (
    AlgorithmNotAllowedError,
    ClaimError,
    MalformedRequestError,
    TokenError,
    UnknownKeyError,
)
from guardrail.events import (
    CircuitClosed,
    CircuitOpened,
    DirectoryFailed,
    DirectoryUnavailable,
    Event,
    KeysFetched,
    KeysFetchFailed,
    KeySkipped,
    KeysRotated,
    KeysUnavailable,
    LifetimeUnknown,
    PlainHttpUsed,
    RefetchBudgetSpent,
    RefreshTokenRotated,
    StaleKeysUsed,
    TokenAccepted,
    TokenFetched,
    TokenFetchFailed,
    TokenRefused,
    TokenRejected,
    TokenRevoked,
)
from guardrail.events._event import dispatcher, printable

ISSUER = "https://login.example.com"

ACCEPTED = TokenAccepted(
    package="orders",
    route="/orders",
    issuer=ISSUER,
    client_id="web",
    operator_kind="user",
)
REFUSED = TokenRefused(code="bad_signature", status=401, package="orders", route="/orders", detail="no")
FETCHED = KeysFetched(issuer=ISSUER, added=("a",), removed=(), skipped=1, lifetime=600.0, duration=0.5)
ROTATED = KeysRotated(issuer=ISSUER, added=("b",), removed=("a",), generation=1)
SKIPPED = KeySkipped(issuer=ISSUER, kid="c", reason="weak")
FAILED = KeysFetchFailed(issuer=ISSUER, detail="timed out", has_keys=True, failures=2, retry_after=3.5)
STALE = StaleKeysUsed(issuer=ISSUER, age=700.0)
SPENT = RefetchBudgetSpent(issuer=ISSUER)
CLIENT = {"client_id": "orders-batch", "token_host": "login.example.com"}
OBTAINED = TokenFetched(**CLIENT, trigger="missing", lifetime=300.0, duration=0.2)
MISSED = TokenFetchFailed(
    **CLIENT, trigger="aging", error="timeout", permanent=False, retry_after=1.0, token_alive=True
)
REJECTED = TokenRejected(**CLIENT, host="api.example.com", retried=True, reason="invalid_token")
PLAIN = PlainHttpUsed(package="orders", route="/orders")
UNAVAILABLE = KeysUnavailable(code="keys_unavailable", package="orders", route="/orders", retry_after=2.0)

DIRECTORY = DirectoryUnavailable(
    code="directory_unavailable", package="orders", route="/orders", retry_after=1.0
)
LOOK_UP = DirectoryFailed(reason="raised", error="builtins.OSError", has_record=False)


@pytest.mark.parametrize(
    ("event", "name"),
    [
        pytest.param(Event(), "guardrail.event", id="base"),
        pytest.param(ACCEPTED, "guardrail.token_accepted", id="token accepted"),
        pytest.param(REFUSED, "guardrail.token_refused", id="token refused"),
        pytest.param(FETCHED, "guardrail.keys_fetched", id="keys fetched"),
        pytest.param(ROTATED, "guardrail.keys_rotated", id="keys rotated"),
        pytest.param(SKIPPED, "guardrail.key_skipped", id="key skipped"),
        pytest.param(FAILED, "guardrail.keys_fetch_failed", id="keys fetch failed"),
        pytest.param(STALE, "guardrail.stale_keys_used", id="stale keys used"),
        pytest.param(SPENT, "guardrail.refetch_budget_spent", id="refetch budget spent"),
        pytest.param(UNAVAILABLE, "guardrail.keys_unavailable", id="keys unavailable"),
        pytest.param(DIRECTORY, "guardrail.directory_unavailable", id="directory unavailable"),
        pytest.param(LOOK_UP, "guardrail.directory_failed", id="directory failed"),
        pytest.param(OBTAINED, "guardrail.client.token_fetched", id="token fetched"),
        pytest.param(MISSED, "guardrail.client.token_fetch_failed", id="token fetch failed"),
        pytest.param(REJECTED, "guardrail.client.token_rejected", id="token rejected"),
        pytest.param(LifetimeUnknown(**CLIENT), "guardrail.client.lifetime_unknown", id="lifetime unknown"),
        pytest.param(CircuitOpened(**CLIENT), "guardrail.client.circuit_opened", id="circuit opened"),
        pytest.param(CircuitClosed(**CLIENT), "guardrail.client.circuit_closed", id="circuit closed"),
        pytest.param(
            RefreshTokenRotated(**CLIENT),
            "guardrail.client.refresh_token_rotated",
            id="refresh token rotated",
        ),
        pytest.param(TokenRevoked(**CLIENT), "guardrail.client.token_revoked", id="token revoked"),
        pytest.param(PLAIN, "guardrail.plain_http_used", id="plain http used"),
    ],
)
def test_events_have_a_dotted_name_and_are_frozen(event: Event, name: str) -> None:
    """
    Each event has a stable name, and no listener can change it for the next.
    """
    assert event.name == name
    assert isinstance(event, Event)
    with pytest.raises((dataclasses.FrozenInstanceError, AttributeError, TypeError)):
        event.anything = 1  # type: ignore[attr-defined]  # what the test is about


def test_fields_of_an_event_cannot_be_set() -> None:
    """
    A record of what happened stays what happened.
    """
    with pytest.raises(dataclasses.FrozenInstanceError):
        REFUSED.code = "other"  # type: ignore[misc]  # what the test is about


def every_event() -> set[type[Event]]:
    """
    All there are, whether exported or not.
    """
    modules = [
        importlib.import_module(f"guardrail.events.{module.name}")
        for module in pkgutil.iter_modules(events.__path__)
    ]
    values = [value for module in modules for value in vars(module).values()]
    return {value for value in values if isinstance(value, type) and issubclass(value, Event)}


def test_every_event_is_exported() -> None:
    """
    All events can be imported by name, from the one place.
    """
    found = every_event()

    assert len(found) == 21
    assert [getattr(events, one.__name__) is one for one in found] == [True] * 21
    assert {one.__name__ for one in found} <= set(events.__all__)


def test_names_of_events_are_all_different() -> None:
    """
    Whoever counts events by name counts each kind apart.
    """
    names = {one.name for one in every_event()}

    assert len(names) == len(every_event())
    assert all(name.startswith("guardrail.") for name in names)


@pytest.mark.parametrize("event", [FETCHED, ROTATED, SKIPPED, FAILED, STALE, SPENT], ids=lambda one: one.name)
def test_events_of_keys_name_their_issuer(event: Event) -> None:
    """
    Every event about keys says whose they are, as the configuration spells it, and needs every field named.
    """
    fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}

    assert fields["issuer"] == ISSUER
    assert dataclasses.replace(event) == event
    assert hash(dataclasses.replace(event)) == hash(event)
    with pytest.raises(TypeError):
        type(event)(*fields.values())


@pytest.mark.parametrize(
    ("error", "claim", "kid"),
    [
        pytest.param(MalformedRequestError("m"), None, None, id="a refusal without facts"),
        pytest.param(
            ClaimError("m", claim="exp", reason="expired", actual="a-fact"), "exp", None, id="claim"
        ),
        pytest.param(AlgorithmNotAllowedError("m", algorithm="a-fact"), None, None, id="algorithm"),
        pytest.param(UnknownKeyError("m", kid="k-1"), None, "k-1", id="key ID"),
        pytest.param(UnknownKeyError("m", kid=None), None, None, id="no key ID"),
        pytest.param(UnknownKeyError("m", kid=""), None, "", id="empty key ID"),
        pytest.param(
            UnknownKeyError("m", kid="\r\nX: \x1b[31m"), None, r"\x0d\x0aX: \x1b[31m", id="hostile key ID"
        ),
        pytest.param(UnknownKeyError("m", kid="x" * 512), None, "x" * 64, id="long key ID"),
    ],
)
def test_refusal_is_told_without_what_the_token_said(
    error: TokenError, claim: str | None, kid: str | None
) -> None:
    """
    An event has the code, the status and the claim's name; a key ID only as printable text (R222, C24).
    """
    event = TokenRefused.of(error, package="orders", route="/orders")

    assert (event.code, event.status, event.claim, event.kid) == (error.code, error.status, claim, kid)
    assert (event.package, event.route, event.detail) == ("orders", "/orders", "m")
    assert "a-fact" not in repr(event)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", "", id="empty"),
        pytest.param("key-1 ~!", "key-1 ~!", id="printable ASCII"),
        pytest.param("a\nb", r"a\x0ab", id="line feed"),
        pytest.param("a\r\nb", r"a\x0d\x0ab", id="CRLF"),
        pytest.param("a\tb", r"a\x09b", id="tab"),
        pytest.param("a\x00b", r"a\x00b", id="NUL"),
        pytest.param("\x1b[31mred", r"\x1b[31mred", id="ANSI escape"),
        pytest.param("\x7f", r"\x7f", id="DEL"),
        pytest.param("\x9b31m", r"\x9b31m", id="C1 control"),
        pytest.param("\x85", r"\x85", id="next line"),
        pytest.param("é", r"\xe9", id="latin-1"),
        pytest.param("\u2028", r"\u2028", id="line separator"),
        pytest.param("\u202e", r"\u202e", id="right-to-left override"),
        pytest.param("\u200b", r"\u200b", id="zero-width space"),
        pytest.param("\ufeff", r"\ufeff", id="BOM"),
        pytest.param("😀", r"\U0001f600", id="beyond the basic plane"),
        pytest.param("\ud800", r"\ud800", id="half a surrogate pair"),
    ],
)
def test_foreign_text_is_made_printable(text: str, expected: str) -> None:
    """
    Control characters, escapes and non-ASCII of a caller's text are written as escapes (R54, C24).
    """
    shown = printable(text)

    assert shown == expected


@pytest.mark.parametrize(
    ("text", "length"),
    [
        pytest.param("x" * 63, 63, id="just below"),
        pytest.param("x" * 64, 64, id="just within"),
        pytest.param("x" * 65, 64, id="just beyond"),
        pytest.param("x" * 1_000_000, 64, id="a megabyte"),
        pytest.param("\n" * 16, 64, id="escapes just within"),
        pytest.param("\n" * 17, 64, id="escapes just beyond"),
        pytest.param("😀" * 1_000, 64, id="long escapes"),
    ],
)
def test_foreign_text_is_shortened(text: str, length: int) -> None:
    """
    What is shown is bounded once it is escaped, not before.
    """
    shown = printable(text)

    assert len(shown) == length


def test_limit_of_foreign_text_can_be_chosen() -> None:
    """
    A caller may allow less or more.
    """
    assert printable("abcdef", limit=3) == "abc"
    assert printable("x" * 200, limit=100) == "x" * 100
    assert printable("abc", limit=0) == ""


@settings(database=None, deadline=None)
@given(text=st.text(alphabet=st.characters()), limit=st.integers(min_value=0, max_value=100))
def test_any_text_is_made_printable_ascii(text: str, limit: int) -> None:
    """
    Whatever comes in, only printable ASCII within the limit goes out.
    """
    shown = printable(text, limit=limit)

    assert len(shown) <= limit
    assert set(shown) <= set(string.printable) - set("\t\n\r\x0b\x0c")


def test_every_listener_hears_every_event_in_order() -> None:
    """
    Listeners are called one after the other, in the order given.
    """
    heard: list[tuple[str, Event]] = []
    emit = dispatcher(
        [lambda event: heard.append(("first", event)), lambda event: heard.append(("second", event))]
    )

    emit(ACCEPTED)
    emit(REFUSED)

    assert heard == [("first", ACCEPTED), ("second", ACCEPTED), ("first", REFUSED), ("second", REFUSED)]


def test_listener_that_raises_is_logged_and_the_next_still_hears(caplog: pytest.LogCaptureFixture) -> None:
    """
    A broken listener neither refuses nor admits anybody, and does not silence the others.
    """
    heard: list[Event] = []

    def broken(event: Event) -> None:
        raise RuntimeError("listener is broken")

    emit = dispatcher([broken, heard.append])

    with caplog.at_level(logging.ERROR, logger="guardrail"):
        emit(REFUSED)

    assert heard == [REFUSED]
    assert len(caplog.records) == 1
    assert "guardrail.token_refused" in caplog.text
    assert "listener is broken" in caplog.text


def test_what_is_no_error_of_a_listener_passes() -> None:
    """
    An interrupt is for the process, and is not swallowed.
    """

    def interrupted(event: Event) -> None:
        raise KeyboardInterrupt

    emit = dispatcher([interrupted])

    with pytest.raises(KeyboardInterrupt):
        emit(REFUSED)


def test_no_listeners_hear_nothing() -> None:
    """
    Without listeners an event goes nowhere; an iterator of listeners is read once.
    """
    heard: list[Event] = []
    silent, from_iterator = dispatcher(()), dispatcher(iter([heard.append]))

    silent(ACCEPTED)
    from_iterator(ACCEPTED)
    from_iterator(REFUSED)

    assert heard == [ACCEPTED, REFUSED]
