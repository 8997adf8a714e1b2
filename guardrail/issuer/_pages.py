"""
The three pages of the embedded issuer. Every value in them is escaped.
"""

import re
from collections.abc import Sequence
from html import escape
from string import Template
from typing import Final

from ._authorize import AuthorizationRequest
from ._errors import OAuthError

_WEB_ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]+)?(?=[/?]|$)")

_PAGE: Final = Template("""\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 3rem auto; padding: 0 1rem; }
.warning { background: #b00020; color: #fff; padding: .5rem 1rem; font-weight: bold; }
dt { font-weight: bold; } dd { margin: 0 0 .5rem; overflow-wrap: anywhere; }
</style>
<p class="warning">DEVELOPMENT ONLY: this authorization server authenticates nobody.</p>
<h1>$title</h1>
$content
</html>
""")

_CONSENT: Final = Template("""\
<dl>
<dt>Client</dt><dd>$client_id</dd>
<dt>Scope</dt><dd>$scope</dd>
<dt>Audience</dt><dd>$audience</dd>
<dt>Then back to</dt><dd>$redirect_uri</dd>
</dl>
<form method="post" action="authorize">
<input type="hidden" name="request_id" value="$request_id">
<p><label>User <select name="user">$options</select></label></p>
<p><button name="decision" value="allow">Allow</button>
<button name="decision" value="deny">Deny</button></p>
</form>
""")


def _page(title: str, *, content: str) -> str:
    return _PAGE.substitute(title=escape(title), content=content)


def consent_page(request: AuthorizationRequest, *, request_id: str, users: Sequence[str]) -> str:
    """
    Render what a client asks for, the choice of users, and the two buttons.
    """
    values = {
        "client_id": request.client_id,
        "scope": " ".join(sorted(request.scope)),
        "audience": " ".join(request.audience),
        "redirect_uri": request.redirect_uri,
        "request_id": request_id,
    }
    escaped = {name: escape(value) for name, value in values.items()}
    options = "".join(f"<option>{escape(user)}</option>" for user in users)
    return _page("Allow access?", content=_CONSENT.substitute(escaped, options=options))


def refusal_page(error: OAuthError) -> str:
    """
    Render a refusal for the user, who alone can be told.
    """
    return _page("Request refused", content=f"<p>{escape(error.code)}: {escape(error.description)}.</p>")


def welcome_page(issuer: str) -> str:
    """
    Render what this server is, and that it is not for production.
    """
    links = "".join(
        f'<li><a href="{escape(issuer.rstrip("/"))}{path}">{path}</a></li>'
        for path in ("/.well-known/openid-configuration", "/jwks")
    )
    return _page("Embedded issuer", content=f"<p>Issuer: {escape(issuer)}</p><ul>{links}</ul>")


def content_security_policy(*, redirect_uri: str | None = None) -> str:
    """
    Return the policy of a page; a consent page names the redirect URI its form may lead to.

    Browsers apply *form-action* to the redirect after the form as well, so the client's origin must be in
    it. Where CSP has no way to write that origin (private-use schemes, IPv6 hosts), its scheme is.
    """
    actions = ["'self'"]
    if redirect_uri is not None:
        web_origin = _WEB_ORIGIN.match(redirect_uri)
        actions.append(web_origin[0] if web_origin else f"{redirect_uri.partition(':')[0]}:")
    return (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'; "
        f"form-action {' '.join(actions)}"
    )
