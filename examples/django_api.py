"""
Django: a project in one file, synchronous and asynchronous views, guarded by path prefix.

    uvicorn examples.django_api:app

Django knows no ASGI lifespan; uvicorn says so once, and serves. Prefixes are compared with the path without
the server's root path: use that (``uvicorn --root-path``), not Django's ``FORCE_SCRIPT_NAME``, which
guardrail cannot see.
"""

import os
import secrets

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from guardrail import GuardrailMiddleware, ServicePackage, current_operator, public

library = ServicePackage(
    "library",
    issuer=os.environ.get("LIBRARY_ISSUER", "http://127.0.0.1:9000"),
    audience="https://api.example.com/library",
    scopes={"library:read": "See loans", "library:lend": "Lend books"},
    implies={"library:lend": ["library:read"]},
)

if not settings.configured:
    settings.configure(
        SECRET_KEY=secrets.token_urlsafe(),
        ALLOWED_HOSTS=["127.0.0.1", "localhost"],
        ROOT_URLCONF=__name__,
        LOGGING_CONFIG=None,
    )


async def list_loans(_: HttpRequest) -> HttpResponse:
    """
    The caller's loans.
    """
    return JsonResponse({"loans_of": current_operator().operator_id})


def report(_: HttpRequest) -> HttpResponse:
    """
    A synchronous view, in a thread: whose request it is is known there too.
    """
    return JsonResponse({"reported_to": current_operator().operator_id})


def lend(_: HttpRequest) -> HttpResponse:
    """
    Lend a book.
    """
    return JsonResponse({"lent_by": current_operator().operator_id}, status=201)


def healthz(_: HttpRequest) -> HttpResponse:
    """
    Open, and the table says so.
    """
    return HttpResponse("ok")


urlpatterns = [
    path("loans", list_loans),
    path("loans/report", report),
    path("desk", lend),
    path("healthz", healthz),
]
app = GuardrailMiddleware(
    get_asgi_application(),
    prefixes={
        "/loans": library.requires("library:read"),
        "/desk": library.requires("library:lend"),
        "/healthz": public,
    },
)
