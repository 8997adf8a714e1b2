"""
What the tests of foreign frameworks are about: prefix tables, what each request is answered, and request
targets that two parsers might read differently.
"""

from typing import Final

from guardrail import public

from . import ORDERS

READ: Final = ORDERS.requires("orders:read")
ADMIN: Final = ORDERS.requires("orders:admin")

# Each application under test has handlers at /orders, /hidden, /admin, /admin/users, /open and all below it.
LISTED: Final[dict[str, object]] = {"/orders": READ, "/admin": ADMIN, "/open": public}
WHOLE: Final[dict[str, object]] = {"/": READ, "/admin": ADMIN, "/open": public}
TABLES: Final = (LISTED, WHOLE)
PATHS: Final = {"/orders": "orders", "/hidden": "hidden", "/admin": "admin", "/admin/users": "users"}
PUBLIC_HANDLERS: Final = {"open", "open-rest"}
ADMIN_HANDLERS: Final = {"admin", "users"}

# What becomes of a request: its path, the scopes of its token or None for none, the status, and what ran.
ANSWERS: Final = {
    "no token": ("/orders", None, 401, []),
    "another token": ("/orders", ["orders:admin"], 403, []),
    "a token": ("/orders", ["orders:read"], 200, ["orders"]),
    "too little": ("/admin", ["orders:read"], 403, []),
    "enough": ("/admin", ["orders:admin"], 200, ["admin"]),
    "below, too little": ("/admin/users", ["orders:read"], 403, []),
    "below, enough": ("/admin/users", ["orders:admin"], 200, ["users"]),
    "public": ("/open", None, 200, ["open"]),
    "public, below": ("/open/a/b", None, 200, ["open-rest"]),
    "not in the table": ("/hidden", ["orders:read", "orders:admin"], 404, []),
    "not in the table, no token": ("/hidden", None, 404, []),
    "nowhere": ("/nowhere", ["orders:read"], 404, []),
    "nowhere below": ("/orders/nowhere", ["orders:read"], 404, []),
    "nowhere below, no token": ("/orders/nowhere", None, 401, []),
}

# Ways to spell /admin, or something near it, so that two parsers might disagree where it leads.
TARGETS: Final = {
    "plain": "/admin",
    "below": "/admin/users",
    "trailing slash": "/admin/",
    "trailing slashes": "/admin//",
    "double slash": "//admin",
    "triple slash": "///admin",
    "double slash inside": "/admin//users",
    "double slash behind public": "/open//admin",
    "dot segment": "/./admin",
    "dot segments": "/open/../admin",
    "dot segments below": "/open/a/../../admin",
    "dot segments at the end": "/admin/users/..",
    "encoded dots": "/open/%2e%2e/admin",
    "half-encoded dots": "/open/.%2e/admin",
    "encoded slash": "/open%2fadmin",
    "encoded slash before": "/%2fadmin",
    "encoded slash behind": "/admin%2f",
    "encoded slash and dots": "/open/..%2fadmin",
    "encoded slashes and dots": "/open%2F..%2Fadmin",
    "twice encoded slash": "/open%252fadmin",
    "twice encoded dots": "/open/%252e%252e/admin",
    "twice encoded slash and dots": "/open/..%252fadmin",
    "twice encoded letter": "/%2561dmin",
    "encoded letter": "/%61dmin",
    "overlong dots": "/open/%c0%ae%c0%ae/admin",
    "full-width dots": "/open/%ef%bc%8e%ef%bc%8e/admin",
    "full-width slash": "/open%ef%bc%8fadmin",
    "full-width letter": "/%ef%bd%81dmin",
    "backslash": "/open\\admin",
    "backslash and dots": "/open/..\\admin",
    "encoded backslash": "/open%5c..%5cadmin",
    "upper case": "/ADMIN",
    "mixed case": "/Admin/Users",
    "dotless i": "/adm%c4%b1n",
    "matrix parameter": "/admin;v=1",
    "empty matrix parameter": "/admin;",
    "matrix parameter inside": "/admin;v=1/users",
    "matrix parameter before": "/;v=1/admin",
    "matrix parameter and dots": "/open/..;/admin",
    "matrix parameter, dots behind": "/open;v=1/../admin",
    "encoded semicolon": "/admin%3bv=1",
    "encoded question mark": "/admin%3fx=1",
    "encoded number sign": "/admin%23x",
    "null behind": "/admin%00",
    "null between": "/open%00/admin",
    "space behind": "/admin%20",
    "space before": "/%20admin",
    "tab behind": "/admin%09",
    "new line behind": "/admin%0a",
    "new line before": "/open%0a/admin",
    "carriage return": "/open%0d%0a/admin",
    "dot behind": "/admin.",
    "extension": "/admin.json",
    "longer segment": "/administrator",
    "public and more": "/openadmin",
    "no slash": "admin",
    "absolute form": "http://testserver/admin",
    "absolute form without an authority": "http:/admin",
    "empty": "",
    "asterisk": "*",
}

# The same with a root path, whether or not the server put it in front of the path: root path and path.
MOUNTED_TARGETS: Final = {
    "mounted": ("/api", "/api/admin"),
    "mounted, path without root path": ("/api", "/admin"),
    "root path once more": ("/api", "/api/api/admin"),
    "root path behind public": ("/api", "/open/api/admin"),
    "root path behind public, double slash": ("/api", "/open/api//admin"),
    "root path behind root path and public": ("/api", "/api/open/api/admin"),
    "root path within a segment": ("/api", "/apiadmin"),
    "root path within a public segment": ("/api", "/open/apiadmin"),
    "root path at the end of a segment": ("/api", "/open/myapi/admin"),
    "root path and dot segments": ("/api", "/api/../admin"),
    "root path and public dot segments": ("/api", "/api/open/../admin"),
    "root path in another case": ("/api", "/API/admin"),
    "encoded root path": ("/api", "/open%2fapi/admin"),
    "root path alone": ("/admin", "/admin"),
    "root path is a prefix": ("/open", "/open/admin"),
    "root path is a guarded prefix": ("/admin", "/admin/admin"),
    "root path with a slash": ("/api/", "/api/admin"),
    "root path with a slash, twice": ("/api/", "/api//admin"),
    "root path is a slash": ("/", "/admin"),
    "root path is a slash, public": ("/", "/open/admin"),
    "root path of a letter": ("/o", "/open/admin"),
    "root path without a slash": ("api", "/open/api/admin"),
    "root path in an absolute form": ("/api", "http://testserver/api/admin"),
}
