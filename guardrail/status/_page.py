"""
The status page: a report → HTML. Everything on it is readable without the script, which only keeps it new.
"""

from base64 import b64encode
from hashlib import sha256
from importlib import resources
from typing import Any, Final

from ._markup import Markup, fill, joined
from ._sections import sections

__all__ = ["CONTENT_SECURITY_POLICY", "empty_page", "full_page"]


def _read(name: str) -> str:
    return resources.files("guardrail").joinpath("status", name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


_STYLE: Final = Markup(_read("page.css"))
_SCRIPT: Final = Markup(_read("page.js"))

# Our own style and script run, by their hashes, and nothing else does: no other element, attribute or URL.
CONTENT_SECURITY_POLICY: Final = (
    f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>guardrail status</title>
<style>{}</style>
</head>
<body data-source="{}">
<header>
<h1>guardrail status</h1>
<p id="live" role="status">Not updated by itself: reload the page.</p>
<button id="pause" type="button" hidden>Pause</button>
</header>
{}
<main>
{}
</main>
<script>{}</script>
</body>
</html>
"""

# The field has no name, and policy lets no form be sent: without the script, the token goes nowhere.
_ASK: Final = Markup("""\
<form id="ask">
<p><label for="token">Access token</label>
<input id="token" type="text" autocomplete="off" autocapitalize="off" spellcheck="false" required>
<button>Show</button></p>
<p>It is kept in this page alone, until it is closed or reloaded.</p>
<noscript><p>This needs JavaScript. Without it, ask for the data with the token in the Authorization
field.</p></noscript>
</form>
<button id="forget" type="button" hidden>Forget the token</button>""")


def full_page(report: dict[str, Any]) -> str:
    """
    The page with all there is to tell; it asks for itself again.
    """
    return fill(_PAGE, _STYLE, "", "", joined(sections(report), "\n"), _SCRIPT)


def empty_page(source: str) -> str:
    """
    The page with nothing to tell, which asks for a token, and then for *source* with it.
    """
    return fill(_PAGE, _STYLE, source, _ASK, "", _SCRIPT)
