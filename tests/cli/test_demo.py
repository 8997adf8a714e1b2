"""
``guardrail demo``: the whole thing, over real HTTP.
"""

import contextlib
import io
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from guardrail.cli import demo, main
from guardrail.cli._demo_calls import Call, Outcome

from .commands import PATIENCE, Process, started
from .conftest import Run

# What the issue asks for: request, token, expected status.
ROWS = [
    ("GET /orders", "none", 401),
    ("GET /orders", "good", 200),
    ("POST /orders", "good", 201),
    ("POST /orders", "scope missing", 403),
    ("GET /orders", "for another audience", 401),
    ("GET /orders", "tampered payload", 401),
    ("GET /orders", "alg: none", 401),
    ("GET /orders", "HS256 with the public key", 401),
    ("GET /orders", "signed with an unknown key", 401),
    ("GET /orders", "expired", 401),
    ("GET /orders", "new, after key rotation", 200),
    ("GET /orders", "old, after key rotation", 200),
    ("GET /healthz", "none, public route", 200),
]
LAST_LINE = "the calls above made it do so"

UNGUARDED = """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

async def orders(request):
    return JSONResponse({})

app = Starlette(routes=[Route("/orders", orders, methods=["GET", "POST"]), Route("/healthz", orders)])
"""


def _use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str) -> None:
    """
    Let the demo serve this API for the example.
    """
    file = tmp_path / "orders_api.py"
    file.write_text(source)
    monkeypatch.setattr(demo, "_EXAMPLES", (file,))


def test_every_answer_is_as_expected(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It prints every row with what was expected and got, and ends with 0; the environment is as before.
    """
    monkeypatch.setenv("ORDERS_AUDIENCE", "mine")
    before = dict(os.environ)

    ran = run("demo")

    assert (ran.status, ran.err) == (0, "")
    lines = ran.out.splitlines()
    for request, label, expected in ROWS:
        assert (
            sum(line.startswith(f"{request:<12}  {label:<26}  {expected:<8}  {expected}") for line in lines)
            == 1
        )
    assert f"{len(ROWS)} of {len(ROWS)} answers as expected." in lines
    assert 'Bearer realm="orders", error="insufficient_scope"' in ran.out
    assert "WRONG" not in ran.out
    assert "eyJ" not in ran.out
    assert dict(os.environ) == before


def test_an_api_that_lets_bad_tokens_in_is_found_out(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """
    Every row that went wrong is marked, and the status is 1.
    """
    _use(monkeypatch, tmp_path, UNGUARDED)

    ran = run("demo")

    wrong = [line for line in ran.out.splitlines() if line.endswith("WRONG")]
    right = sum(expected == 200 for _, _, expected in ROWS)
    assert ran.status == 1
    assert len(wrong) == len(ROWS) - right
    assert f"{right} of {len(ROWS)} answers as expected." in ran.out


def test_an_api_that_does_not_start_is_told(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """
    An undeclared route stops the demo as it stops a server, and is listed.
    """
    _use(
        monkeypatch,
        tmp_path,
        UNGUARDED + "from guardrail import GuardrailMiddleware\napp.add_middleware(GuardrailMiddleware)\n",
    )

    ran = run("demo")

    assert ran.status == 2
    assert "GET,POST /orders -> orders" in ran.err or "GET /healthz -> orders" in ran.err
    assert ran.err.endswith("guardrail demo: the application did not start; its messages are above\n")


def test_without_the_example_it_says_where_to_run(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """
    An installation without the example is told so.
    """
    monkeypatch.setattr(demo, "_EXAMPLES", (tmp_path / "nowhere.py",))

    ran = run("demo")

    assert ran.status == 2
    assert "examples/orders_api.py is not there" in ran.only_line


@pytest.mark.parametrize("module", ["fastapi", "uvicorn"])
def test_what_is_missing_is_named_with_its_extra(
    run: Run, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    """
    Without the ``demo`` extra the message is how to install it, and the environment is as before.
    """
    monkeypatch.setitem(sys.modules, module, None)
    before = dict(os.environ)

    ran = run("demo")

    assert ran.status == 2
    assert module in ran.only_line
    assert "pip install 'asgi-guardrail[demo]'" in ran.only_line
    assert dict(os.environ) == before


def test_a_401_without_a_challenge_is_wrong() -> None:
    """
    The right status is not enough: RFC 6750 §3 asks for a challenge.
    """
    call = Call("GET", "/orders", "none", None, 401)

    assert Outcome(call, 401, 'Bearer realm="orders"').is_right
    assert not Outcome(call, 401, "").is_right
    assert not Outcome(call, 403, 'Bearer realm="orders"').is_right


def test_serve_keeps_both_running_until_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    In this process: after the table both still answer, and Ctrl-C ends it well.
    """
    out = io.StringIO()
    answers: list[int] = []
    has_ended = threading.Event()

    def call_and_interrupt() -> None:
        deadline = time.monotonic() + PATIENCE
        with contextlib.suppress(httpx.HTTPError):
            while LAST_LINE not in out.getvalue() and time.monotonic() < deadline:
                if has_ended.wait(0.02):
                    return
            api = out.getvalue().partition("\napi     ")[2].partition(" ")[0]
            answers.append(httpx.get(f"{api}/healthz", trust_env=False).status_code)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(sys, "stdout", out)
    thread = threading.Thread(target=call_and_interrupt)
    thread.start()

    try:
        status = main(["demo", "--serve"])
    finally:
        has_ended.set()
        thread.join()
    assert (status, answers) == (0, [200])


def _paste(line: str, environment: dict[str, str]) -> str:
    """
    What a printed line prints in a shell.
    """
    done = subprocess.run(
        ["bash", "-c", line], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout


def _status(line: str, environment: dict[str, str]) -> int:
    """
    The status of the answer to a printed curl line: by curl, or without it by httpx from the same words.
    """
    if shutil.which("curl"):
        return int(_paste(line, environment).split()[1])
    words = shlex.split(line.replace("$TOKEN", environment.get("TOKEN", "")))
    headers = [words[index + 1] for index, word in enumerate(words) if word == "-H"]
    method = words[words.index("-X") + 1] if "-X" in words else "GET"
    fields = dict(header.split(": ", 1) for header in headers)
    return httpx.request(method, words[-1], headers=fields, trust_env=False).status_code


def _token(line: str) -> str:
    """
    The token that the printed ``TOKEN=`` line gets.
    """
    if shutil.which("curl") and shutil.which("python3"):
        return _paste(f"{line}; echo $TOKEN", {}).strip()
    words = shlex.split(line.removeprefix("TOKEN=$(").partition(" | ")[0])
    client_id, _, secret = words[words.index("-u") + 1].partition(":")
    data = {"grant_type": "client_credentials"}
    answer = httpx.post(words[-1], data=data, auth=(client_id, secret), trust_env=False)
    return str(answer.json()["access_token"])


def _printed_lines(process: Process) -> tuple[str, list[str]]:
    process.read_until(LAST_LINE)
    lines = process.lines
    return next(line for line in lines if line.startswith("TOKEN=")), [
        line for line in lines if line.startswith("curl ")
    ]


def test_the_printed_lines_work_when_pasted() -> None:
    """
    As a process: each curl line does what it shows, and Ctrl-C ends it with 0 and without a traceback.
    """
    with started("demo", "--serve") as process:
        token_line, curl_lines = _printed_lines(process)
        token = _token(token_line)
        statuses = [_status(line, {"TOKEN": token}) for line in curl_lines]
        after_rotation = _status(curl_lines[0], {"TOKEN": token})
        ran = process.interrupt()

    assert statuses == [200, 201, 401, 200]
    assert after_rotation == 200
    assert (ran.status, ran.err) == (0, "")
