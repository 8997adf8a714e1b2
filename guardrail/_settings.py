"""
What users write in a setting, checked when they write it, with the right form in the message.
"""

import inspect
from typing import Final, TypeGuard, cast

from ._shapes import is_iterable, is_strings
from .errors import PolicyError
from .events import Listener

MAX_SECONDS: Final = 1e12  # beyond it lie integers that fit no float
MAX_COUNT: Final = 1_000_000


def require_async_client(client: object) -> None:
    """
    Refuse what fetches in another way than `httpx.AsyncClient`, such as an `httpx.Client`.

    Raises:
        PolicyError: It has no ``stream``, or no ``aclose``.
    """
    has_interface = hasattr(client, "stream") and hasattr(client, "aclose") and not isinstance(client, type)
    if client is not None and not has_interface:
        raise PolicyError(
            f"http_client must be an httpx.AsyncClient or have its interface; got {type(client)}"
        )


def require_flag(name: str, value: object) -> None:
    """
    Refuse a setting that is not a truth value.

    Raises:
        PolicyError: It is not.
    """
    if not isinstance(value, bool):
        raise PolicyError(f"{name} must be True or False; got {value!r}")


def is_number(value: object) -> TypeGuard[float]:
    """
    Whether *value* is a number that a limit may be: zero or more, and finite.
    """
    # bool is an int in Python, and a mistake here; NaN compares false with everything.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_SECONDS


def require_seconds(name: str, value: object, *, is_positive: bool) -> None:
    """
    Refuse a setting that is not a duration.

    Raises:
        PolicyError: Not a finite number of zero or more, or zero where it must be more.
    """
    if not is_number(value) or (is_positive and not value):
        least = "more than zero" if is_positive else "zero or more"
        raise PolicyError(f"{name} must be a number of seconds, {least}; got {value!r}")


def require_count(name: str, value: object, *, least: int) -> None:
    """
    Refuse a setting that is not a number of things.

    Raises:
        PolicyError: Not a whole number, fewer than *least*, or too many.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MAX_COUNT:
        raise PolicyError(f"{name} must be a whole number from {least} to {MAX_COUNT:,}; got {value!r}")


def require_one_of(name: str, value: object, accepted: tuple[str, ...]) -> None:
    """
    Refuse a setting that is none of the accepted words.

    Raises:
        PolicyError: It is not.
    """
    if value not in accepted:
        raise PolicyError(f"{name} must be one of {', '.join(accepted)}; got {value!r}")


def require_callables(**values: object) -> None:
    """
    Refuse settings that are called later and cannot be.

    Raises:
        PolicyError: The first one that is not callable.
    """
    for name, value in values.items():
        if not callable(value):
            raise PolicyError(f"{name} must be callable; got {value!r}")


def require_synchronous(**values: object) -> None:
    """
    Refuse settings that are called and never awaited, where an asynchronous one would do nothing.

    Raises:
        PolicyError: The first one that is an ``async def``.
    """
    for name, value in values.items():
        call = getattr(type(value), "__call__", None)  # noqa: B004 - it is looked at, not asked for
        if inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(call):
            raise PolicyError(f"{name} is not awaited: it must be a plain function; got {value!r}")


def listeners(values: object) -> tuple[Listener, ...]:
    """
    Several event listeners as a tuple.

    Raises:
        PolicyError: Not several, or one that is not callable, or asynchronous.
    """
    if not is_iterable(values):
        raise PolicyError(f"on_event must be several callables, such as [log_refusal]; got {values!r}")
    found = tuple(values)
    for value in found:
        require_callables(on_event=value)
        require_synchronous(on_event=value)
    return cast("tuple[Listener, ...]", found)


def entries(value: object) -> int:
    """
    A number of entries.

    Raises:
        PolicyError: Not a whole number of zero or more.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise PolicyError(f"token_cache_size must be a whole number, zero or more; got {value!r}")
    return value


def names(values: object, *, what: str, example: str) -> tuple[str, ...]:
    """
    An iterable of non-empty strings as a tuple, in order and without repetition.

    Raises:
        PolicyError: A bare string, whose characters Python would silently iterate, or something else.
    """
    if not is_iterable(values):
        raise PolicyError(f"{what} must be several strings, such as {example}, not {values!r}")
    found = tuple(values)
    if not is_strings(found) or "" in found:
        raise PolicyError(f"{what} must hold non-empty strings, such as {example}; got {found!r}")
    return tuple(dict.fromkeys(found))


def optional_names(values: object, *, what: str, example: str) -> tuple[str, ...] | None:
    """
    None as None, which is something else than none of them; else as `names`.

    Raises:
        PolicyError: As `names`.
    """
    return None if values is None else names(values, what=what, example=example)


def audiences(value: object) -> frozenset[str]:
    """
    One audience or several, as a set.

    Raises:
        PolicyError: None, an empty one, or something that is not a string.
    """
    example = 'audience must be this API\'s identifier, such as "https://api.example.com/orders", or several'
    several = tuple(value) if is_iterable(value) else (value,)
    if not is_strings(several) or not several or not all(one and one == one.strip() for one in several):
        raise PolicyError(f"{example}; got {value!r}")
    # RFC 8707 §2: an absolute URI without a fragment; or a plain name, which is what large issuers use.
    if any("#" in one or one.startswith("/") for one in several):
        raise PolicyError(f"{example}; not relative, and without a fragment; got {value!r}")
    return frozenset(several)


def seconds(value: object) -> float | None:
    """
    A duration in seconds, or None.

    Raises:
        PolicyError: Not a finite number of zero or more.
    """
    if value is None:
        return None
    is_flag = isinstance(value, bool)  # an int in Python, and a mistake here; NaN compares false with all
    if is_flag or not isinstance(value, int | float) or not 0 <= value <= MAX_SECONDS:
        raise PolicyError(f"max_age must be a number of seconds, zero or more; got {value!r}")
    return float(value)
