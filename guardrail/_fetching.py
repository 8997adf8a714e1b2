"""
`Fetching`: how an issuer's keys are fetched, how long they are used, and how often the issuer is asked.
"""

from dataclasses import dataclass

from ._settings import is_number, require_count, require_flag, require_seconds
from ._shapes import is_iterable
from .errors import PolicyError

__all__ = ["Fetching"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetching:
    """
    Limits of the requests for one issuer's metadata and keys. The defaults suit every issuer we know.

    Args:
        lifetime: Seconds that fetched keys are used before they are asked for again, 600 by default. An
            answer's ``Cache-Control: max-age`` goes before it (RFC 9111 §5.2.2.1). About 80 % into it they
            are refreshed in the background.
        max_age_bounds: The least and the most seconds of an answer's *max-age* that are believed, 60 and
            86,400 by default; ``no-store`` and ``no-cache`` mean the least. The same number twice makes
            nothing of what an answer says.
        max_stale: Seconds that keys outlive their lifetime while the issuer cannot be had, 86,400 by default.
        timeout: Seconds for discovery and keys together, 5 by default.
        backoff_bounds: The least and the most seconds between a failure and the next attempt, 1 and 30 by
            default; doubled with each failure in a row, with jitter.
        max_refetches: How often key IDs we do not have may cause a fetch within *refetch_window*, 2 by
            default. 0: never.
        refetch_window: Seconds, 30 by default.
        unknown_key_age: Seconds for which a key ID that the issuer was asked for in vain is refused without
            asking again, 60 by default. 0: not at all.
        max_unknown_keys: How many such key IDs are remembered, 1,024 by default.
        max_body_bytes: The largest answer read, in bytes, compressed and uncompressed; 524,288 by default.
        max_keys: The most keys a JWK Set may have, 100 by default.
        insecure_allow_link_local: Fetch from link-local addresses too, where clouds serve machines their
            credentials. False by default.

    Raises:
        PolicyError: A value is not acceptable; the message names the right form.
    """

    lifetime: float = 600.0
    max_age_bounds: tuple[float, float] = (60.0, 86_400.0)
    max_stale: float = 86_400.0
    timeout: float = 5.0
    backoff_bounds: tuple[float, float] = (1.0, 30.0)
    max_refetches: int = 2
    refetch_window: float = 30.0
    unknown_key_age: float = 60.0
    max_unknown_keys: int = 1_024
    max_body_bytes: int = 524_288
    max_keys: int = 100
    insecure_allow_link_local: bool = False

    def __post_init__(self) -> None:
        for name in ("lifetime", "timeout", "refetch_window"):
            require_seconds(name, getattr(self, name), is_positive=True)
        for name in ("max_stale", "unknown_key_age"):
            require_seconds(name, getattr(self, name), is_positive=False)
        for name in ("max_age_bounds", "backoff_bounds"):
            object.__setattr__(self, name, _bounds(name, getattr(self, name)))
        for name in ("max_refetches", "max_unknown_keys"):
            require_count(name, getattr(self, name), least=0)
        for name in ("max_body_bytes", "max_keys"):
            require_count(name, getattr(self, name), least=1)
        require_flag("insecure_allow_link_local", self.insecure_allow_link_local)


def _bounds(name: str, value: object) -> tuple[float, float]:
    bounds = tuple(value) if is_iterable(value) else ()
    numbers = tuple(one for one in bounds if is_number(one))
    if not len(bounds) == len(numbers) == 2 or not 0 < numbers[0] <= numbers[1]:
        raise PolicyError(f"{name} must be two numbers of seconds, (least, most); got {value!r}")
    return numbers[0], numbers[1]
