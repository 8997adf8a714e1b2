"""
The sections of the status page.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from ._markup import Markup, fill, joined
from ._table import Section, ago, badge, clock_time, contents, section
from ._words import duration

__all__ = ["sections"]

_BREAK: Final = "<br>"
_STATES: Final = {"ready": "good", "stale": "warning", "unavailable": "bad"}


def sections(report: Mapping[str, Any]) -> Iterator[Markup]:
    """
    All of them, as what a person on call asks first.
    """
    made = [
        _notices(report),
        _issuers(report),
        _packages(report),
        _refusals(report),
        _clients(report),
        _scopes(report),
        _operators(report),
        _outbound(report),
        _routes(report),
    ]
    yield _summary(report)
    yield contents(made)
    yield from (one.content for one in made)


def _summary(report: Mapping[str, Any]) -> Markup:
    state = ("good", "ready") if report["is_ready"] else ("bad", "not ready")
    if not report["is_started"]:
        state = ("warning", "not started")
    accepted = sum(one["accepted"] for one in report["packages"])
    refused = sum(sum(one["refused"].values()) for one in report["packages"])
    return fill(
        '<section aria-label="Summary"><p>{} Process {}, counting for {}: {} accepted, {} refused.</p>'
        "</section>",
        badge(*state),
        report["process"],
        duration(report["now"] - report["since"]),
        f"{accepted:,}",
        f"{refused:,}",
    )


def _notices(report: Mapping[str, Any]) -> Section:
    rows = [
        (one["about"], one["cause"], one["fix"], f"{one['count']:,}", ago(one)) for one in report["notices"]
    ]
    heads = ("About", "What happened", "What to do", "Times", "Last")
    return section(report, "notices", "Notices", heads, rows, empty="None.")


def _refusals(report: Mapping[str, Any]) -> Section:
    rows = [
        (
            joined((ago(one), clock_time(report["now"] - one["seconds_ago"])), _BREAK),
            f"{one['count']:,}",
            joined((one["package"], fill("<code>{}</code>", one["route"])), _BREAK),
            joined(
                (fill('{} <code class="word">{}</code>', one["status"], one["code"]), *_shadow(one)), _BREAK
            ),
            joined((one["cause"], *_facts(one)), _BREAK),
            one["fix"],
        )
        for one in report["refusals"]
    ]
    heads = ("Last", "Times", "Where", "Why", "What happened", "What would fix it")
    return section(report, "refusals", "Recent refusals", heads, rows, empty="Nobody was refused.")


def _shadow(refusal: Mapping[str, Any]) -> Iterable[Markup]:
    return () if refusal["is_enforced"] else (badge("warning", "served all the same"),)


def _facts(refusal: Mapping[str, Any]) -> Iterator[Markup]:
    """
    What the event says beside its code.
    """
    if "detail" in refusal:
        yield fill("<small>{}</small>", refusal["detail"])
    for name, words in (("claim", "claim"), ("kid", "key ID")):
        if refusal.get(name) is not None:
            yield fill("<small>{} <code>{}</code></small>", words, refusal[name])
    if refusal.get("scopes_lacking"):
        lacking = joined((fill("<code>{}</code>", one) for one in refusal["scopes_lacking"]), " ")
        yield fill("<small>lacking {}</small>", lacking)


def _issuers(report: Mapping[str, Any]) -> Section:
    rows = [
        (
            joined((one["issuer"], *([] if one["is_required"] else ["not required"])), _BREAK),
            badge(_STATES[one["state"]], one["state"]),
            joined((f"{one['keys']:,}", *(fill("<code>{}</code>", kid) for kid in one["key_ids"])), " "),
            "in hand" if one["age"] is None else duration(one["age"]),
            _refresh(one["expires_in"]),
            "none" if one["last_error"] is None else f"{one['failures']} in a row; last: {one['last_error']}",
        )
        for one in report["issuers"]
    ]
    heads = ("Issuer", "State", "Keys", "Age", "Next refresh", "Failures")
    return section(report, "issuers", "Issuers and their keys", heads, rows, empty="None is known yet.")


def _refresh(expires_in: float | None) -> str:
    if expires_in is None:
        return "never"
    return f"in {duration(expires_in)}" if expires_in > 0 else "with the next request"


def _packages(report: Mapping[str, Any]) -> Section:
    rows = [
        (
            joined((one["package"], *_mode(one)), _BREAK),
            joined(one.get("issuers", ()), _BREAK),
            joined(one.get("audiences", ()), _BREAK),
            f"{one['accepted']:,}",
            joined(
                (
                    fill('{} <code class="word">{}</code>', f"{count:,}", code)
                    for code, count in one["refused"].items()
                ),
                _BREAK,
            )
            or "none",
        )
        for one in report["packages"]
    ]
    heads = ("Package", "Issuers", "Audiences", "Accepted", "Refused")
    return section(report, "packages", "Service packages", heads, rows, empty="None is known yet.")


def _mode(package: Mapping[str, Any]) -> Iterable[Markup]:
    if package.get("is_enforced", True):
        return ()
    words = f"not enforced: {package['not_enforced']:,} served all the same"
    return (badge("warning", words),)


def _routes(report: Mapping[str, Any]) -> Section:
    rows = [
        (
            fill("<code>{} {}</code>", one["methods"], one["path"]),
            joined(one["packages"], _BREAK) or "none",
            one["needs"],
        )
        for one in report["routes"]
    ]
    return section(
        report, "routes", "Routes and what they need", ("Route", "Package", "Needs"), rows, empty="None yet."
    )


def _clients(report: Mapping[str, Any]) -> Section:
    ordered = sorted(report["clients"], key=lambda one: -one["nearly_expired"])
    rows = [
        (
            "(names none)" if one["client_id"] is None else fill("<code>{}</code>", one["client_id"]),
            one["issuer"],
            f"{one['count']:,}",
            badge("warning", f"{one['nearly_expired']:,}") if one["nearly_expired"] else "0",
            "unknown" if one["least_seconds_left"] is None else f"{one['least_seconds_left']:.0f} s",
            ago(one),
        )
        for one in ordered
    ]
    limit = f"{report['nearly_expired_at']:g} s"
    heads = ("Client", "Issuer", "Accepted", f"With {limit} left or less", "Least left", "Last")
    return section(report, "clients", "Clients and the life left in their tokens", heads, rows)


def _scopes(report: Mapping[str, Any]) -> Section:
    ordered = sorted(report["scopes"], key=lambda one: -one["lacking"])
    rows = [
        (
            fill("<code>{}</code>", one["scope"]),
            one["package"],
            f"{one['routes']:,}",
            badge("warning", f"{one['lacking']:,}") if one["lacking"] else "0",
        )
        for one in ordered
    ]
    heads = ("Scope", "Package", "Routes that ask for it", "Requests that lacked it")
    return section(
        report, "scopes", "Scopes asked for and lacking", heads, rows, empty="No route asks for one."
    )


def _operators(report: Mapping[str, Any]) -> Section:
    rows = [
        (
            one["kind"] + "s" if one["operator_id"] is None else fill("<code>{}</code>", one["operator_id"]),
            one["kind"],
            one["issuer"],
            f"{one['count']:,}",
            ago(one),
        )
        for one in report["operators"]
    ]
    return section(report, "operators", "Operators", ("Operator", "Kind", "Issuer", "Accepted", "Last"), rows)


def _outbound(report: Mapping[str, Any]) -> Section:
    rows = [
        (
            fill("<code>{}</code>", one["client_id"]),
            one["token_host"],
            _left(one["seconds_left"]),
            f"{one['fetched']:,}",
            f"{one['failed']:,}" + ("" if one["error"] is None else f"; now: {one['error']}"),
            "" if one["retry_in"] is None else f"in {duration(one['retry_in'])}",
            f"{one['rejected']:,}",
            badge("bad", "open") if one["is_circuit_open"] else "closed",
        )
        for one in report["outbound"]
    ]
    heads = (
        "Client",
        "Tokens from",
        "Time left",
        "Fetched",
        "Failed",
        "Next try",
        "Refused by an API",
        "Circuit",
    )
    return section(report, "outbound", "Tokens for calls of ours", heads, rows)


def _left(seconds: float | None) -> str | Markup:
    if seconds is None:
        return badge("bad", "no token")
    return duration(seconds) if seconds else badge("warning", "expired")
