"""
Declarations: a mark on an endpoint that says what it needs, and the tripwire that holds it to that.

The mark is one attribute, set on the original endpoint, so that the order of decorators does not matter. A
function is also wrapped: the wrapper runs it only inside a decision made for this very declaration, else it
raises before its first line. A class is guarded where it is instantiated. What cannot be wrapped (an ASGI
application object) is only marked; the middleware checks it when its response starts.
"""

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from types import FunctionType, MethodType
from typing import Any, Final, TypeVar, cast

from ._decision import enter
from ._shapes import is_object
from .errors import MiddlewareMissingError, PolicyError

MARK: Final = "__guardrail__"
HTTP_METHODS: Final[tuple[str, ...]] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY")

_Endpoint = TypeVar("_Endpoint")
_Call = Callable[..., Any]


@dataclass(frozen=True, slots=True, eq=False)
class Declaration:
    """
    What one endpoint declared; compared by identity.

    Attributes:
        requirement: The requirement, or None for a public endpoint.
        where: The endpoint's name, for messages.
        by_router: Where a router declared it: the endpoint, and what came of it. None where it did so itself.
    """

    requirement: object
    where: str
    by_router: tuple[_Call, _Call] | None = field(default=None, init=False, repr=False)

    @property
    def is_public(self) -> bool:
        """
        Whether the endpoint needs no token.
        """
        return self.requirement is None


def declare(endpoint: _Endpoint, requirement: object) -> _Endpoint:
    """
    Mark *endpoint* with *requirement* (None: public), and guard it as far as Python allows.

    Raises:
        PolicyError: It is declared already, or cannot hold a mark.
    """
    if isinstance(endpoint, staticmethod | classmethod):
        descriptor = cast("Any", endpoint)
        return cast("_Endpoint", type(descriptor)(declare(descriptor.__func__, requirement)))
    if declaration_of(endpoint) is not None:
        raise PolicyError(f"{endpoint_name(endpoint)} is declared twice; one decorator names all it needs")
    return hold(endpoint, Declaration(requirement, endpoint_name(endpoint)))


def hold(endpoint: _Endpoint, declaration: Declaration) -> _Endpoint:
    """
    Hold *endpoint* to *declaration*, whether or not what it is made of is declared.
    """
    if isinstance(endpoint, functools.partial):
        return cast("_Endpoint", _declare_partial(cast("functools.partial[Any]", endpoint), declaration))
    if not isinstance(endpoint, MethodType):  # a bound method takes no attribute; its wrapper does
        _mark(endpoint, declaration)
    return cast("_Endpoint", _guard(cast("_Call", endpoint), declaration))


def public(endpoint: _Endpoint) -> _Endpoint:
    """
    Declare *endpoint* open: no token is asked for, and none is looked at.

    Raises:
        PolicyError: It is declared already, or cannot hold a mark.
    """
    return declare(endpoint, None)


def declaration_of(endpoint: object) -> Declaration | None:
    """
    The declaration on *endpoint*, or None.

    A class's mark counts for that class alone, never for its subclasses: a subclass can override anything.
    A partial has its function's, a callable object that of its ``__call__``.
    """
    if isinstance(endpoint, type):
        return _only_declaration(vars(endpoint).get(MARK))
    if isinstance(endpoint, FunctionType | MethodType):
        return _only_declaration(getattr(endpoint, MARK, None))
    own = _only_declaration(getattr(endpoint, "__dict__", {}).get(MARK))
    if own is None and isinstance(endpoint, functools.partial):
        return declaration_of(endpoint.func)
    call = getattr(type(endpoint), "__call__", None)  # noqa: B004 - it is looked at, not asked for
    return own or _only_declaration(getattr(call, MARK, None))


def method_declaration(endpoint: type, method: str) -> Declaration | None:
    """
    The declaration that holds for one HTTP method of a class-based endpoint; the method's wins.

    HEAD falls to ``get`` where the class has no ``head``, as Starlette dispatches it.
    """
    name = "get" if method == "HEAD" and not hasattr(endpoint, "head") else method.lower()
    return declaration_of(getattr(endpoint, name, None)) or declaration_of(endpoint)


def endpoint_name(endpoint: object) -> str:
    """
    A name a developer recognises: the function's or class's, else the type's.
    """
    if isinstance(endpoint, functools.partial):
        return endpoint_name(endpoint.func)
    name = getattr(endpoint, "__qualname__", None) or type(endpoint).__qualname__
    return str(name).rpartition("<locals>.")[2]


def _only_declaration(mark: object) -> Declaration | None:
    return mark if isinstance(mark, Declaration) else None


def _mark(endpoint: object, declaration: Declaration) -> None:
    try:
        setattr(endpoint, MARK, declaration)
    except (AttributeError, TypeError, ValueError) as exc:
        raise PolicyError(
            f"{declaration.where} cannot be declared: it takes no attribute; declare a function that calls it"
        ) from exc


def _guard(endpoint: _Call, declaration: Declaration) -> _Call:
    if isinstance(endpoint, type):
        _guard_instantiation(endpoint, declaration)
        return endpoint
    if not isinstance(endpoint, FunctionType | MethodType):
        return endpoint
    wrapper = functools.wraps(endpoint)(_tripwire(endpoint, declaration))
    setattr(wrapper, MARK, declaration)
    return wrapper


def _declare_partial(endpoint: functools.partial[Any], declaration: Declaration) -> functools.partial[Any]:
    """
    Mark a partial and guard its function, leaving the function itself, which others may share, as it was.
    """
    _mark(endpoint, declaration)
    function = endpoint.func
    if not isinstance(function, FunctionType | MethodType):
        return endpoint
    guarded = functools.partial(_guard(function, declaration), *endpoint.args, **endpoint.keywords)
    _mark(guarded, declaration)
    return guarded


def _require_decision(declaration: Declaration) -> None:
    if not enter(declaration):
        raise MiddlewareMissingError(
            f"{declaration.where} would have run without a decision made for it: "
            "is GuardrailMiddleware added, and innermost?"
        )


def _tripwire(endpoint: _Call, declaration: Declaration) -> _Call:
    """
    A function of the same kind as *endpoint* that demands a decision first.
    """

    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        _require_decision(declaration)
        return await endpoint(*args, **kwargs)

    async def async_generator(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        _require_decision(declaration)
        async with aclosing(endpoint(*args, **kwargs)) as items:
            async for item in items:
                yield item

    def generator(*args: Any, **kwargs: Any) -> Iterator[Any]:
        _require_decision(declaration)
        yield from endpoint(*args, **kwargs)

    def function(*args: Any, **kwargs: Any) -> Any:
        _require_decision(declaration)
        return endpoint(*args, **kwargs)

    if inspect.iscoroutinefunction(endpoint):
        return coroutine
    if inspect.isasyncgenfunction(endpoint):
        return async_generator
    return generator if inspect.isgeneratorfunction(endpoint) else function


def _guard_instantiation(cls: type, declaration: Declaration) -> None:
    """
    Make instances of *cls* itself, not of its subclasses, demand a decision.

    A subclass inherits this ``__init__``, but not the mark: it is undeclared, or declares for itself. A class
    made anew by a decorator above, as ``dataclass(slots=True)`` does, has both.
    """
    original: _Call = getattr(cls, "__init__")  # noqa: B009 - mypy refuses the plain access
    # object.__init__ refuses arguments, unless it knows that only __new__ is overridden; now both are.
    new: _Call = cls.__new__
    takes_arguments_in_new = original is object.__init__ and new is not object.__new__

    @functools.wraps(original)
    def init(self: object, *args: Any, **kwargs: Any) -> None:
        if declaration_of(type(self)) is declaration:
            _require_decision_for_method(type(self), declaration, args)
        if not takes_arguments_in_new:
            original(self, *args, **kwargs)

    setattr(cls, "__init__", init)  # noqa: B010 - mypy refuses the plain assignment


def _require_decision_for_method(cls: type, declaration: Declaration, args: tuple[Any, ...]) -> None:
    """
    Of a class whose methods declare for themselves, demand the decision for the method it is made for.

    Starlette instantiates an endpoint with the scope. For a method that the class does not have, it answers
    405 without running anything of the class.
    """
    scope: object = args[0] if args else None
    method = scope.get("method") if is_object(scope) else None
    if not isinstance(method, str):
        _require_decision(declaration)
    elif has_handler(cls, method) or not dispatches_by_method(cls):
        _require_decision(method_declaration(cls, method) or declaration)


def has_handler(endpoint: type, method: str) -> bool:
    """
    Whether a class-based endpoint has something to run for *method*.
    """
    return hasattr(endpoint, method.lower()) or (method == "HEAD" and hasattr(endpoint, "get"))


def dispatches_by_method(endpoint: type) -> bool:
    """
    Whether Starlette calls ``get``, ``post`` … of this class, and nothing else: ``dispatch`` is its own.
    """
    owner = next((base for base in endpoint.__mro__ if "dispatch" in vars(base)), None)
    return owner is not None and (owner.__module__, owner.__name__) == ("starlette.endpoints", "HTTPEndpoint")
