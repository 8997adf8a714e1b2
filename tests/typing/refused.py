"""
What type checkers must refuse: each line marked ``# refused``. Never executed.
"""

import httpx

from guardrail import ClientRegistration, Fetching, GuardrailMiddleware, Issuer, Operator, ServicePackage, current_operator, health, public
from guardrail.client import AuthenticationProfile
from guardrail.directory import CachedDirectory, OperatorRecord

ServicePackage("orders", issuer="https://login.example.com")  # refused
ServicePackage("orders", audience="https://api.example.com")  # refused
ServicePackage("orders", "https://login.example.com", "https://api.example.com")  # refused
orders = ServicePackage("orders", issuer="https://login.example.com", audience="a", scopes=1)  # refused
orders.requires(["orders:read"])  # refused
orders.requires("orders:read", max_age="5 minutes")  # refused
orders.name = "other"  # refused
Issuer("https://login.example.com", "https://login.example.com/jwks")  # refused
Issuer("https://login.example.com", leeway="30")  # refused
Issuer("https://login.example.com", mapping={"roles": 1})  # refused
Issuer("https://login.example.com", warm_up="later")  # refused
Issuer("https://login.example.com", fetching={"lifetime": 300})  # refused
Issuer("https://login.example.com", required="yes")  # refused
Issuer("https://login.example.com", clients=["batch"])  # refused
Issuer("https://login.example.com", unregistered_clients="deny")  # refused
ClientRegistration("batch", "svc")  # refused
ClientRegistration("batch", enabled="yes")  # refused
OperatorRecord("emp-7", False)  # refused
OperatorRecord("emp-7", scopes=["orders:read"])  # refused
CachedDirectory(object())  # refused
Fetching(300)  # refused
Fetching(lifetime="5 minutes")  # refused
Fetching(backoff_bounds=30.0)  # refused
Fetching(max_refetches=1.5)  # refused
Fetching(life_time=300)  # refused
Fetching().lifetime = 300.0  # refused
health(None).is_ready = True  # refused
health(None).issuers[0].state = "ready"  # refused
GuardrailMiddleware(None)  # refused


def change(operator: Operator) -> None:
    operator.scopes = frozenset()  # refused
    operator.claims["sub"] = "somebody else"  # refused


@public
def healthz() -> str:
    return "ok"


number: int = healthz()  # refused
client_id: str = current_operator().client_id  # refused
AuthenticationProfile("https://login.example.com", client_id="a")  # refused
AuthenticationProfile(client_id="a", auth_method="client_secret_jwt")  # refused
AuthenticationProfile(client_id="a", http_client=httpx.AsyncClient())  # refused
