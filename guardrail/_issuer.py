"""
`Issuer`: an authorization server whose tokens we trust, and exactly how far.
"""

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from ._claims import normalize_token_type
from ._fetching import Fetching
from ._mapping_setting import ClaimPaths, field_paths
from ._profiles import PROFILES, Profile, load_profile
from ._registration import UNREGISTERED_CLIENTS, ClientRegistration, registrations
from ._settings import audiences, names, require_async_client, require_flag, require_one_of
from ._shapes import is_array, is_iterable, is_object
from ._urls import first_segment, require_fetchable
from .errors import PolicyError

if TYPE_CHECKING:  # loading httpx is for those who fetch
    import httpx

__all__ = ["DEFAULT_ALGORITHMS", "PROFILES", "SUPPORTED_ALGORITHMS", "Issuer"]

# Asymmetric signatures only (RFC 9068 §2.1 excludes "none"; RFC 8725 §3.2). "Ed25519": RFC 9864 §2.2.
SUPPORTED_ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
)  # fmt: skip
DEFAULT_ALGORITHMS: Final = ("RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519")
_URN: Final = re.compile(r"urn:[A-Za-z0-9._~!$&'()*+,;=:@%/-]+")  # RFC 8141, loosely
WARM_UPS: Final = ("background", "wait", "off")
MAX_LEEWAY: Final = 300.0  # seconds; RFC 7519 §4.1.4 speaks of "no more than a few minutes"


@dataclass(frozen=True, slots=True)
class Issuer:
    """
    An authorization server we trust: whose tokens, signed how, with keys from where.

    Does not fetch anything at construction. Equal issuers share one key set in a middleware.

    Args:
        url: The issuer identifier, exactly as tokens spell it in *iss*. ``https`` only, loopback hosts
            excepted; no query, no fragment (RFC 8414 §2). A ``urn:`` needs *jwks_uri* or *keys*.
        jwks_uri: Where the JWK Set is; None discovers it from *url* (RFC 8414, OpenID Connect Discovery).
        keys: A JWK Set in hand (RFC 7517 §5), instead of a fetch.
        algorithms: The signature algorithms accepted (RFC 8725 §3.1), among `SUPPORTED_ALGORITHMS`.
        profile: How this issuer spells its claims, and what else its tokens need: ``default``, ``rfc9068``
            (strict), ``entra``, ``keycloak``, ``okta``, ``auth0``, ``cognito``, ``google_id_token`` or
            ``pega``.
        mapping: Single fields of the operator that are read elsewhere than the profile says. Each is a member
            name, a path of member names, or a list of such paths, of which the first present one is used:
            ``{"roles": ["realm_access", "roles"], "client_id": [["azp"], ["appid"]]}``.
        token_types: The accepted *typ* header values, None for "absent"; not given, the profile decides.
        leeway: Clock skew to forgive, in seconds: 0 to 300, 30 by default.
        insecure_allow_http: Accept plain ``http`` for a host that is not loopback. Whoever is between can
            then choose the keys.
        http_client: An object with the interface of `httpx.AsyncClient` for this issuer's requests, such as
            one with a private CA; None uses the middleware's.
        fetching: How keys are fetched, kept and asked for again.
        warm_up: What the application's startup (ASGI lifespan) does about the keys: begin to fetch them in
            the ``background``, the default; ``wait`` for the attempt, at most ``fetching.timeout`` seconds,
            and start whatever comes of it; or leave it to the first request, ``off``.
        required: Whether the application counts as ready only with keys of this issuer; True by default.
        clients: What is known here of the issuer's clients: who may call, and as whom.
        unregistered_clients: Whether a client that is not among *clients* may call: ``allow``, the default,
            or ``refuse``, with 403; a token that names no client is of none of them.

    Raises:
        PolicyError: A value is not acceptable; the message names the right form.
    """

    url: str
    jwks_uri: str | None = field(default=None, kw_only=True)
    keys: Mapping[str, Any] | None = field(default=None, kw_only=True, hash=False, repr=False)
    algorithms: Iterable[str] = field(default=DEFAULT_ALGORITHMS, kw_only=True)
    profile: str = field(default="default", kw_only=True)
    mapping: Mapping[str, ClaimPaths] | None = field(default=None, kw_only=True, hash=False)
    token_types: Iterable[str | None] | None = field(default=None, kw_only=True)
    leeway: float = field(default=30.0, kw_only=True)
    insecure_allow_http: bool = field(default=False, kw_only=True)
    accepted_token_types: frozenset[str] | None = field(init=False, repr=False, compare=False)
    http_client: "httpx.AsyncClient | None" = field(default=None, kw_only=True, hash=False, repr=False)
    fetching: Fetching = field(default=Fetching(), kw_only=True, repr=False)
    warm_up: Literal["background", "wait", "off"] = field(default="background", kw_only=True, repr=False)
    required: bool = field(default=True, kw_only=True, repr=False)
    clients: Iterable[ClientRegistration] = field(default=(), kw_only=True, repr=False)
    unregistered_clients: Literal["allow", "refuse"] = field(default="allow", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        _set(self, "algorithms", _algorithms(self.algorithms))
        _set(self, "token_types", _token_types(self.token_types))
        _set(self, "accepted_token_types", _normalized(self.token_types))
        _set(self, "keys", _keys(self.keys))
        for name in ("insecure_allow_http", "required"):
            require_flag(name, getattr(self, name))
        require_one_of("profile", self.profile, PROFILES)
        require_one_of("warm_up", self.warm_up, WARM_UPS)
        require_one_of("unregistered_clients", self.unregistered_clients, UNREGISTERED_CLIENTS)
        profile = load_profile(self.profile)
        _set(self, "mapping", field_paths(self.mapping))
        _set(self, "clients", registrations(self.clients, are_required=profile.pins_client))
        self._check_fetching()
        self._check_urls()
        self._check_tenant(profile)
        is_number = isinstance(self.leeway, int | float) and not isinstance(self.leeway, bool)
        if not is_number or not 0 <= self.leeway <= MAX_LEEWAY:
            raise PolicyError(f"leeway must be between 0 and {MAX_LEEWAY:.0f} seconds; got {self.leeway!r}")

    def _check_fetching(self) -> None:
        if not isinstance(self.fetching, Fetching):
            raise PolicyError(
                f"fetching must be a Fetching, such as Fetching(timeout=2.0); got {self.fetching!r}"
            )
        require_async_client(self.http_client)

    def _check_urls(self) -> None:
        if self.keys is not None and self.jwks_uri is not None:
            raise PolicyError("give an issuer keys= or jwks_uri=, not both")
        if self.jwks_uri is not None:
            require_fetchable(self.jwks_uri, name="jwks_uri", insecure_allow_http=self.insecure_allow_http)
        if isinstance(self.url, str) and _URN.fullmatch(self.url):
            if self.keys is None and self.jwks_uri is None:
                raise PolicyError(f"{self.url} cannot be discovered: give it jwks_uri= or keys=")
            return
        require_fetchable(self.url, name="issuer", insecure_allow_http=self.insecure_allow_http)
        if "?" in self.url or "#" in self.url:
            raise PolicyError(f"an issuer has no query and no fragment (RFC 8414 §2); got {self.url!r}")

    def _check_tenant(self, profile: Profile) -> None:
        tenant = first_segment(self.url)
        if profile.tenant_claim and (not tenant or tenant in profile.no_tenants):
            raise PolicyError(
                f"the profile {self.profile} needs the URL of one tenant's issuer, such as "
                f'"https://login.microsoftonline.com/<tenant ID>/v2.0"; got {self.url!r}'
            )

    def __reduce__(self) -> tuple[Callable[[], "Issuer"], tuple[()]]:
        """
        Copied and pickled as what it was made of; a copy is made, and checked, anew.
        """
        given = {one.name: getattr(self, one.name) for one in fields(self) if one.init}
        given["mapping"] = None if self.mapping is None else dict(self.mapping)
        return partial(Issuer, **given), ()


def package_audiences(value: object, *, issuers: tuple[Issuer, ...]) -> frozenset[str]:
    """
    The audiences of a service package with these issuers.

    Raises:
        PolicyError: Not audiences, or one that an issuer puts into tokens that are for others.
    """
    found = audiences(value)
    for issuer in issuers:
        for one in sorted(found & load_profile(issuer.profile).forbidden_audiences):
            raise PolicyError(
                f"{issuer.profile} puts the audience {one!r} into tokens for any API; "
                "let it put in this API's own name, and write that"
            )
    return found


def issuers(value: object) -> tuple[Issuer, ...]:
    """
    A URL, an `Issuer`, or several of them, as issuers.

    Raises:
        PolicyError: None, one twice, or something else.
    """
    several = tuple(value) if is_iterable(value) else (value,)
    # What is not an Issuer must be a URL, and Issuer says so if it is not.
    found = tuple(one if isinstance(one, Issuer) else Issuer(cast("str", one)) for one in several)
    if not found:
        raise PolicyError('issuer must not be empty; for example issuer="https://login.example.com"')
    if len({issuer.url for issuer in found}) < len(found):
        raise PolicyError("a service package names an issuer twice")
    return found


def _algorithms(values: object) -> tuple[str, ...]:
    algorithms = names(values, what="algorithms", example='["RS256"]')
    for algorithm in algorithms:
        if algorithm not in SUPPORTED_ALGORITHMS:
            accepted = ", ".join(SUPPORTED_ALGORITHMS)
            raise PolicyError(f"{algorithm!r} is not accepted; only asymmetric signatures are: {accepted}")
    if not algorithms:
        raise PolicyError('algorithms must not be empty; for example ["RS256"]')
    return algorithms


def _token_types(values: object) -> tuple[str | None, ...] | None:
    if values is None:
        return None
    if not is_iterable(values):
        raise PolicyError(f'token_types must be several values, such as ["at+jwt", None], not {values!r}')
    several = tuple(values)
    found = tuple(
        one for one in several if one is None or (isinstance(one, str) and normalize_token_type(one))
    )
    if not found or len(found) < len(several):
        raise PolicyError('token_types must hold type names, or None for "absent", such as ["at+jwt", None]')
    return found


def _normalized(token_types: Iterable[str | None] | None) -> frozenset[str] | None:
    return None if token_types is None else frozenset(normalize_token_type(one or "") for one in token_types)


def _keys(value: object) -> Mapping[str, Any] | None:
    if value is None:
        return None
    keys = value.get("keys") if is_object(value) else None
    if not is_object(value) or not is_array(keys):
        raise PolicyError('keys must be a JWK Set, {"keys": [...]} (RFC 7517 §5)')
    if not any(is_object(key) and key.get("kty") in ("RSA", "EC", "OKP") for key in keys):
        raise PolicyError("keys holds no public key: RSA, EC or OKP (RFC 7518 §6.1, RFC 8037 §2)")
    return copy.deepcopy(dict(value))  # what the caller does with theirs later is not our concern


def _set(instance: object, name: str, value: object) -> None:
    object.__setattr__(instance, name, value)  # the dataclass is frozen for everyone else
