"""
What type checkers must refuse: each line marked ``# refused``. Never executed.
"""

from guardrail import GuardrailMiddleware, Issuer, Operator, ServicePackage, current_operator, public

ServicePackage("orders", issuer="https://login.example.com")  # refused
ServicePackage("orders", audience="https://api.example.com")  # refused
ServicePackage("orders", "https://login.example.com", "https://api.example.com")  # refused
orders = ServicePackage("orders", issuer="https://login.example.com", audience="a", scopes=1)  # refused
orders.requires(["orders:read"])  # refused
orders.requires("orders:read", max_age="5 minutes")  # refused
orders.name = "other"  # refused
Issuer("https://login.example.com", "https://login.example.com/jwks")  # refused
Issuer("https://login.example.com", leeway="30")  # refused
GuardrailMiddleware(None)  # refused


def change(operator: Operator) -> None:
    operator.scopes = frozenset()  # refused
    operator.claims["sub"] = "somebody else"  # refused


@public
def healthz() -> str:
    return "ok"


number: int = healthz()  # refused
client_id: str = current_operator().client_id  # refused
