"""
Marks and tripwires: what takes a declaration, and that nothing declared runs without its decision.
"""

import asyncio
import dataclasses
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any, Self, TypeVar

import pytest
from frameworks import ORDERS, Application, decision, endpoint
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from guardrail import public
from guardrail._declaration import (
    MARK,
    Declaration,
    declaration_of,
    endpoint_name,
    method_declaration,
)
from guardrail.errors import MiddlewareMissingError, PolicyError

READ = ORDERS.requires("orders:read")
WRITE = ORDERS.requires("orders:write")

_Callable = TypeVar("_Callable", bound=Callable[..., object])

# A declared endpoint, and what runs it to its end.
Declared = tuple[object, Callable[[], object]]


def through(function: _Callable) -> _Callable:
    """
    A decorator of somebody else's, well behaved.
    """

    @functools.wraps(function)
    def wrapper(*args: object, **kwargs: object) -> object:
        return function(*args, **kwargs)

    return wrapper  # type: ignore[return-value]  # it has the shape of what it wraps


def a_function(ran: list[str]) -> Declared:
    @READ
    def handler() -> str:
        ran.append("ran")
        return "done"

    return handler, handler


def a_coroutine_function(ran: list[str]) -> Declared:
    @READ
    async def handler() -> str:
        ran.append("ran")
        return "done"

    return handler, lambda: asyncio.run(handler())


def a_generator(ran: list[str]) -> Declared:
    @READ
    def handler() -> Iterator[str]:
        ran.append("ran")
        yield "done"

    return handler, lambda: "".join(handler())


def an_async_generator(ran: list[str]) -> Declared:
    @READ
    async def handler() -> AsyncIterator[str]:
        ran.append("ran")
        yield "done"

    async def collect() -> str:
        return "".join([item async for item in handler()])

    return handler, lambda: asyncio.run(collect())


def a_class(ran: list[str]) -> Declared:
    @READ
    class Handler:
        def __init__(self, word: str) -> None:
            ran.append("ran")
            self.word = word

    return Handler, lambda: Handler("done").word


def a_class_without_an_initialiser(ran: list[str]) -> Declared:
    @READ
    class Handler:
        def run(self) -> str:
            ran.append("ran")
            return "done"

    return Handler, lambda: Handler().run()


def a_partial(ran: list[str]) -> Declared:
    def handler(word: str) -> str:
        ran.append("ran")
        return word

    declared = READ(functools.partial(handler, "done"))
    return declared, declared


def a_partial_of_a_coroutine_function(ran: list[str]) -> Declared:
    async def handler(word: str) -> str:
        ran.append("ran")
        return word

    declared = READ(functools.partial(handler, word="done"))
    return declared, lambda: asyncio.run(declared())


def a_partial_of_a_declared_function(ran: list[str]) -> Declared:
    @READ
    def handler(word: str) -> str:
        ran.append("ran")
        return word

    declared = functools.partial(handler, "done")
    return declared, declared


class Service:
    """
    An object whose methods are endpoints.
    """

    def __init__(self, ran: list[str]) -> None:
        self._ran = ran

    def plain(self) -> str:
        """
        Run undeclared, until it is.
        """
        self._ran.append("ran")
        return "done"

    @READ
    def declared(self) -> str:
        """
        Run, declared in the class.
        """
        self._ran.append("ran")
        return "done"

    @READ
    def __call__(self) -> str:
        """
        Run, called as the object.
        """
        self._ran.append("ran")
        return "done"

    @staticmethod
    def static(ran: list[str]) -> str:
        """
        Run, without an object.
        """
        ran.append("ran")
        return "done"


def a_bound_method(ran: list[str]) -> Declared:
    declared = READ(Service(ran).plain)
    return declared, declared


def a_partial_of_a_bound_method(ran: list[str]) -> Declared:
    declared = READ(functools.partial(Service(ran).plain))
    return declared, declared


def a_method_declared_in_its_class(ran: list[str]) -> Declared:
    declared = Service(ran).declared
    return declared, declared


def an_object_whose_call_is_declared(ran: list[str]) -> Declared:
    declared = Service(ran)
    return declared, declared


def a_static_method(ran: list[str]) -> Declared:
    class Handlers:
        @READ
        @staticmethod
        def handler() -> str:
            ran.append("ran")
            return "done"

    return Handlers.handler, Handlers.handler


def a_static_method_declared_inside(ran: list[str]) -> Declared:
    class Handlers:
        @staticmethod
        @READ
        def handler() -> str:
            ran.append("ran")
            return "done"

    return Handlers.handler, Handlers.handler


def a_class_method(ran: list[str]) -> Declared:
    class Handlers:
        @READ
        @classmethod
        def handler(cls) -> str:
            ran.append("ran")
            return "done"

    return Handlers.handler, Handlers.handler


def a_function_wrapped_outside(ran: list[str]) -> Declared:
    @through
    @READ
    def handler() -> str:
        ran.append("ran")
        return "done"

    return handler, handler


def a_function_wrapped_inside(ran: list[str]) -> Declared:
    @READ
    @through
    def handler() -> str:
        ran.append("ran")
        return "done"

    return handler, handler


def a_method_of_a_class_based_endpoint(ran: list[str]) -> Declared:
    class Handler(HTTPEndpoint):
        @READ
        def get(self, request: Request) -> str:
            ran.append("ran")
            return "done"

    return Handler.get, lambda: Handler(*_connection()).get(Request(_connection()[0]))


KINDS = [
    pytest.param(build, id=build.__name__)
    for build in (
        a_function,
        a_coroutine_function,
        a_generator,
        an_async_generator,
        a_class,
        a_class_without_an_initialiser,
        a_partial,
        a_partial_of_a_coroutine_function,
        a_partial_of_a_declared_function,
        a_bound_method,
        a_partial_of_a_bound_method,
        a_method_declared_in_its_class,
        an_object_whose_call_is_declared,
        a_static_method,
        a_static_method_declared_inside,
        a_class_method,
        a_function_wrapped_outside,
        a_function_wrapped_inside,
        a_method_of_a_class_based_endpoint,
    )
]


async def _receive() -> dict[str, str]:
    return {"type": "http.disconnect"}


async def _send(message: object) -> None:
    raise AssertionError(f"nothing may be sent; got {message!r}")


def _connection() -> tuple[Scope, Receive, Send]:
    return {"type": "http", "method": "GET", "headers": []}, _receive, _send


def _declaration(declared: object) -> Declaration:
    found = declaration_of(declared)
    assert found is not None
    return found


# The mark


@pytest.mark.parametrize("build", KINDS)
def test_every_kind_of_endpoint_takes_a_declaration(build: Callable[[list[str]], Declared]) -> None:
    """
    Whatever can be an endpoint holds what it declared.
    """
    declared, _ = build([])

    assert _declaration(declared).requirement is READ


def test_a_declaration_is_on_the_original_function_too() -> None:
    """
    The order of decorators does not matter: what was registered before it was declared is found declared.
    """
    handler = endpoint([], "read_orders")

    declared = READ(handler)

    assert declaration_of(handler) is declaration_of(declared)


def test_a_declaration_is_on_the_original_partial_too() -> None:
    """
    A partial that was registered before it was declared is found declared.
    """
    partial = functools.partial(endpoint([], "read_orders"))

    declared = READ(partial)

    assert declaration_of(partial) is declaration_of(declared)


def test_declaring_a_partial_leaves_its_function_as_it_was() -> None:
    """
    The function of a partial may serve elsewhere; its other users declare for themselves.
    """
    handler = endpoint([], "read_orders")

    READ(functools.partial(handler))

    assert declaration_of(handler) is None


def test_a_partial_of_what_cannot_be_wrapped_is_marked_alone() -> None:
    """
    The partial of an application object takes the declaration; the object stays as it was.
    """
    application = Application([], "app")

    declared = READ(functools.partial(application))

    assert declared.func is application
    assert _declaration(declared).requirement is READ
    assert declaration_of(application) is None


def test_public_declares_no_requirement() -> None:
    """
    A public endpoint has a declaration, and it asks for nothing.
    """
    open_one = _declaration(public(endpoint([], "healthz")))
    guarded = _declaration(READ(endpoint([], "read_orders")))

    assert open_one.is_public
    assert not guarded.is_public


@pytest.mark.parametrize(
    "declare",
    [
        pytest.param(lambda: READ(WRITE(endpoint([], "twice"))), id="function"),
        pytest.param(lambda: READ(READ(endpoint([], "twice"))), id="the_same_requirement"),
        pytest.param(lambda: public(public(endpoint([], "twice"))), id="public"),
        pytest.param(lambda: public(through(READ(endpoint([], "twice")))), id="through_wraps"),
        pytest.param(lambda: public(functools.partial(READ(endpoint([], "twice")))), id="through_a_partial"),
        pytest.param(lambda: public(READ(functools.partial(endpoint([], "twice")))), id="partial"),
        pytest.param(lambda: public(Service([])), id="object_whose_call_is_declared"),
        pytest.param(lambda: public(READ(Application([], "twice"))), id="object"),
        pytest.param(lambda: public(Service([]).declared), id="bound_method"),
        pytest.param(lambda: public(READ(Service([]).plain)), id="declared_bound_method"),
        pytest.param(lambda: public(staticmethod(READ(Service.static))), id="static_method"),
        pytest.param(lambda: public(READ(type("Twice", (HTTPEndpoint,), {}))), id="class"),
    ],
)
def test_declaring_twice_raises(declare: Callable[[], object]) -> None:
    """
    One decorator names everything an endpoint needs: a second one is an error, not an addition.
    """
    with pytest.raises(PolicyError, match="is declared twice"):
        declare()


@dataclasses.dataclass(frozen=True)
class Frozen:
    """
    An object that refuses attributes.
    """

    def __call__(self) -> None:
        """
        Do nothing.
        """


@pytest.mark.parametrize(
    "unmarkable",
    [
        pytest.param(object(), id="object"),
        pytest.param(len, id="builtin"),
        pytest.param(Frozen(), id="frozen"),
        pytest.param(int, id="builtin_class"),
        pytest.param(None, id="none"),
    ],
)
def test_what_takes_no_attribute_cannot_be_declared(unmarkable: object) -> None:
    """
    A decorator that cannot take effect raises where it is written.
    """
    with pytest.raises(PolicyError, match="takes no attribute; declare a function that calls it"):
        READ(unmarkable)


@pytest.mark.parametrize(
    "undeclared",
    [
        pytest.param(endpoint([], "undeclared"), id="function"),
        pytest.param(functools.partial(endpoint([], "undeclared")), id="partial"),
        pytest.param(Application([], "undeclared"), id="object"),
        pytest.param(HTTPEndpoint, id="class"),
        pytest.param(None, id="none"),
        pytest.param(len, id="builtin"),
    ],
)
def test_what_was_not_declared_has_no_declaration(undeclared: object) -> None:
    """
    Silence is no declaration.
    """
    assert declaration_of(undeclared) is None


def test_another_value_under_our_name_is_no_declaration() -> None:
    """
    An attribute that happens to have the mark's name opens nothing.
    """
    handler = endpoint([], "undeclared")
    setattr(handler, MARK, "public")

    assert declaration_of(handler) is None


def test_an_object_that_answers_every_attribute_is_not_declared() -> None:
    """
    A proxy that invents its attributes cannot pass for declared.
    """

    class Proxy:
        def __getattr__(self, name: str) -> str:
            return name

    assert declaration_of(Proxy()) is None


def test_the_mark_of_an_object_is_on_that_object_alone() -> None:
    """
    The mark of an ASGI application object is on that object alone, not on its class.
    """
    declared = public(Application([], "open"))

    assert _declaration(declared).is_public
    assert declaration_of(Application([], "other")) is None


def test_declaring_an_application_object_returns_it() -> None:
    """
    ``Mount("/static", public(StaticFiles(...)))`` mounts the object itself.
    """
    static = StaticFiles(directory=".", check_dir=False)

    assert public(static) is static


def test_the_mark_of_a_class_is_not_its_instances() -> None:
    """
    A declared class is declared as an endpoint; an object made of it is another endpoint.
    """

    @public
    class Handler:
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...

    with decision(declaration_of(Handler)):
        made = Handler()

    assert declaration_of(made) is None


# Classes and their methods


def test_the_mark_of_a_class_is_not_inherited() -> None:
    """
    A subclass can override anything, so it declares for itself.
    """

    @READ
    class Base(HTTPEndpoint):
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("base")

    class Derived(Base): ...

    assert declaration_of(Derived) is None
    assert method_declaration(Derived, "GET") is None


def test_the_mark_of_a_method_wins_over_its_class() -> None:
    """
    A method that declares for itself is not under what the class says of the others.
    """

    @READ
    class Handler(HTTPEndpoint):
        @WRITE
        async def post(self, request: Request) -> Response:
            return PlainTextResponse("post")

        async def get(self, request: Request) -> Response:
            return PlainTextResponse("get")

    posted, got = method_declaration(Handler, "POST"), method_declaration(Handler, "GET")

    assert posted is not None
    assert posted.requirement is WRITE
    assert got is _declaration(Handler)


def test_head_falls_to_get() -> None:
    """
    HEAD has the declaration of ``get``, which Starlette runs for it.
    """

    class Handler(HTTPEndpoint):
        @READ
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("get")

    assert method_declaration(Handler, "HEAD") is _declaration(Handler.get)


def test_head_with_a_method_of_its_own_does_not_fall_to_get() -> None:
    """
    A class with a ``head`` declares it apart from ``get``.
    """

    class Handler(HTTPEndpoint):
        @public
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("get")

        async def head(self, request: Request) -> Response:
            return PlainTextResponse("head")

    assert method_declaration(Handler, "HEAD") is None


def test_an_inherited_method_keeps_its_mark() -> None:
    """
    A method that a subclass does not override is the same function, and declared.
    """

    class Base(HTTPEndpoint):
        @READ
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("base")

    class Derived(Base): ...

    assert method_declaration(Derived, "GET") is _declaration(Base.get)


def test_an_overriding_method_is_undeclared() -> None:
    """
    What overrides a declared method has to declare for itself.
    """

    class Base(HTTPEndpoint):
        @READ
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("base")

    class Derived(Base):
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("derived")

    assert method_declaration(Derived, "GET") is None


# The tripwire


@pytest.mark.parametrize("build", KINDS)
def test_no_declared_endpoint_runs_without_a_decision(build: Callable[[list[str]], Declared]) -> None:
    """
    Without the middleware a declared endpoint raises before its first line.
    """
    ran: list[str] = []
    _, run = build(ran)

    with pytest.raises(MiddlewareMissingError, match="without a decision made for it"):
        run()

    assert ran == []


@pytest.mark.parametrize("build", KINDS)
def test_no_declared_endpoint_runs_with_another_ones_decision(
    build: Callable[[list[str]], Declared],
) -> None:
    """
    A decision for one endpoint runs no other, not even one that asks for the same.
    """
    ran: list[str] = []
    _, run = build(ran)
    other = _declaration(READ(endpoint([], "other")))

    with decision(other), pytest.raises(MiddlewareMissingError):
        run()

    assert ran == []


@pytest.mark.parametrize("build", KINDS)
def test_a_declared_endpoint_runs_with_its_own_decision(build: Callable[[list[str]], Declared]) -> None:
    """
    With its decision in force an endpoint runs once and returns what it returns.
    """
    ran: list[str] = []
    declared, run = build(ran)

    with decision(declaration_of(declared)):
        returned = run()

    assert (ran, returned) == (["ran"], "done")


def test_a_public_endpoint_needs_its_decision_too() -> None:
    """
    A request decided for one public endpoint does not run another.
    """
    ran: list[str] = []

    @public
    def handler() -> None:
        ran.append("ran")

    with pytest.raises(MiddlewareMissingError):
        handler()

    assert ran == []


def test_the_error_names_the_endpoint() -> None:
    """
    Whoever reads the error knows which endpoint would have run.
    """

    @READ
    def read_orders() -> None: ...

    with pytest.raises(MiddlewareMissingError, match="read_orders would have run"):
        read_orders()


def test_what_is_sent_into_a_generator_reaches_it() -> None:
    """
    A declared generator is delegated to: values sent in, and its closing, pass through.
    """
    seen: list[str] = []

    @READ
    def handler() -> Generator[str, str, None]:
        try:
            seen.append((yield "first"))
            yield "second"
        finally:
            seen.append("closed")

    with decision(declaration_of(handler)):
        items = handler()
        yielded = [next(items), items.send("sent")]
        items.close()

    assert (yielded, seen) == (["first", "second"], ["sent", "closed"])


@pytest.mark.anyio
async def test_an_abandoned_async_generator_is_closed() -> None:
    """
    A client that goes away in the middle of a stream ends the handler's ``finally`` at once.
    """
    closed: list[str] = []

    @READ
    async def handler() -> AsyncIterator[str]:
        try:
            yield "first"
            yield "second"
        finally:
            closed.append("closed")

    with decision(declaration_of(handler)):
        items = handler()
        await anext(items)
        assert inspect.isasyncgen(items)
        await items.aclose()

    assert closed == ["closed"]


def test_a_subclass_is_not_held_to_its_parents_decision() -> None:
    """
    A subclass that declares for itself is made under its own decision, though it inherits ``__init__``.
    """

    @READ
    class Base:
        def __init__(self) -> None:
            self.made = True

    @WRITE
    class Derived(Base): ...

    with decision(declaration_of(Derived)):
        made = Derived().made
    with decision(declaration_of(Base)), pytest.raises(MiddlewareMissingError, match="Derived"):
        Derived()

    assert made


def test_a_class_is_made_under_the_decision_for_one_of_its_methods() -> None:
    """
    A class-based endpoint that declares both as a whole and by method is made for either.
    """

    @READ
    class Handler(HTTPEndpoint):
        @WRITE
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("get")

    with decision(declaration_of(Handler.get)):
        made = Handler(*_connection())

    assert isinstance(made, Handler)


def test_a_websocket_class_is_guarded_where_it_is_made() -> None:
    """
    A WebSocket endpoint class refuses to exist without its decision.
    """

    @READ
    class Handler(WebSocketEndpoint): ...

    scope, receive, send = _connection()

    with pytest.raises(MiddlewareMissingError):
        Handler({**scope, "type": "websocket"}, receive, send)


def test_a_class_rebuilt_by_a_decorator_above_stays_guarded() -> None:
    """
    A decorator that makes the class anew, as ``dataclass(slots=True)`` does, takes mark and tripwire along.
    """

    @dataclasses.dataclass(slots=True, init=False)
    @READ
    class Handler:
        def __init__(self) -> None: ...

    assert _declaration(Handler).requirement is READ
    with pytest.raises(MiddlewareMissingError):
        Handler()


def test_a_class_that_takes_its_arguments_in_new_can_be_declared() -> None:
    """
    Guarding the initialiser does not make Python refuse arguments that only ``__new__`` takes.
    """

    @READ
    class Handler:
        word: str

        def __new__(cls, word: str) -> Self:
            made = super().__new__(cls)
            made.word = word
            return made

    with decision(declaration_of(Handler)):
        made = Handler("done")

    assert made.word == "done"


# What the tripwire keeps


def _coroutine_function() -> Callable[..., Any]:
    async def handler(item: int, /, *, query: str = "q") -> str:
        """
        Documented.
        """
        return query * item

    return handler


def _function() -> Callable[..., Any]:
    def handler(item: int, /, *, query: str = "q") -> str:
        return query * item

    return handler


def _generator_function() -> Callable[..., Any]:
    def handler(item: int) -> Iterator[int]:
        yield item

    return handler


def _async_generator_function() -> Callable[..., Any]:
    async def handler(item: int) -> AsyncIterator[int]:
        yield item

    return handler


@pytest.mark.parametrize(
    "build",
    [_coroutine_function, _function, _generator_function, _async_generator_function],
    ids=lambda build: build.__name__,
)
def test_the_signature_and_the_kind_are_kept(build: Callable[[], Callable[..., Any]]) -> None:
    """
    Frameworks see the parameters, the annotations and whether to await, as if nothing stood in between.
    """
    kinds: list[Callable[[Any], bool]] = [
        inspect.iscoroutinefunction,
        inspect.isasyncgenfunction,
        inspect.isgeneratorfunction,
        inspect.isfunction,
    ]
    handler = build()

    declared: Any = READ(handler)

    assert inspect.signature(declared) == inspect.signature(handler)
    assert [kind(declared) for kind in kinds] == [kind(handler) for kind in kinds]
    assert (declared.__name__, declared.__doc__) == (handler.__name__, handler.__doc__)


def test_the_signature_of_a_class_is_kept() -> None:
    """
    A framework that calls a declared class sees its parameters.
    """

    class Handler:
        def __init__(self, item: int, query: str = "q") -> None: ...

    before = inspect.signature(Handler)

    assert inspect.signature(READ(Handler)) == before


@pytest.mark.parametrize(
    ("named", "name"),
    [
        pytest.param(through, "through", id="function"),
        pytest.param(functools.partial(through), "through", id="partial"),
        pytest.param(READ(_function()), "handler", id="declared_function"),
        pytest.param(Service, "Service", id="class"),
        pytest.param(Service([]).plain, "Service.plain", id="method"),
        pytest.param(Application([], "x"), "Application", id="object"),
        pytest.param(lambda: None, "<lambda>", id="lambda"),
    ],
)
def test_an_endpoint_has_the_name_a_developer_knows(named: object, name: str) -> None:
    """
    Messages and tables name functions and classes as the source does, and objects by their type.
    """
    assert endpoint_name(named) == name


def test_a_nested_function_is_named_without_its_surroundings() -> None:
    """
    An endpoint that a factory made is named as it is in the factory.
    """

    def read_orders() -> None: ...

    assert endpoint_name(read_orders) == "read_orders"
