"""
A headless Chromium, spoken to by the DevTools protocol: pages, and what a user does on them.

Knows nothing of guardrail or Swagger UI. The browser reaches loopback addresses, and nothing else.
"""

import json
import os
import queue
import shutil
import subprocess
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from websockets.sync.client import ClientConnection, connect

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
TIMEOUT: Final = 30.0  # seconds for anything that a user would wait for; a first start takes a few
STOP_TIMEOUT: Final = 10.0  # seconds
POLL: Final = 0.05  # seconds between looks at a page that is waited for, unless something happens earlier
_READY: Final = "DevTools listening on "
_FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",  # containers run as root, and what is shown here is our own
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-port=0",
)


def find_chromium() -> str | None:
    """
    Find the browser: ``CHROMIUM`` in the environment, or one of its usual names.
    """
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


class PageError(Exception):
    """
    Raised when a page did not come to what was waited for.
    """


@dataclass(eq=False)
class Browser:
    """
    One connection to a running browser. What happens elsewhere is seen while an answer is waited for.

    Attributes:
        files: What to answer requests with that go to other hosts, by the end of their URL.
    """

    connection: ClientConnection
    files: Mapping[str, Path]
    requested: list[str] = field(default_factory=list)
    _last_id: int = 0
    _answers: dict[int, dict[str, Any]] = field(default_factory=dict)
    _pages: list["Page"] = field(default_factory=list)

    def open(self, url: str) -> "Page":
        """
        Open a page, and go to *url*.
        """
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        page = self._page(lambda one: one.target == target)
        page.call("Fetch.enable", patterns=[{"urlPattern": "https://*"}])
        page.call("Page.navigate", url=url)
        return page

    def opened_by(self, page: "Page") -> "Page":
        """
        Wait for the page that *page* opens.
        """
        return self._page(lambda one: one.opener == page.target)

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """
        Send one command, and wait for its result.

        Raises:
            PageError: The browser refused it, or the page was left meanwhile.
        """
        number = self._send(method, session, parameters)
        while number not in self._answers:
            self._read()
        answer = self._answers.pop(number)
        if "error" in answer:
            raise PageError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _send(self, method: str, session: str | None, parameters: Mapping[str, Any]) -> int:
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": parameters}
        self.connection.send(json.dumps(message | ({"sessionId": session} if session else {})))
        return self._last_id

    def listen(self, timeout: float) -> None:
        """
        See to the next thing that happens, within *timeout* seconds.
        """
        with suppress(TimeoutError):
            self._read(timeout)

    def _read(self, timeout: float = TIMEOUT) -> None:
        message: dict[str, Any] = json.loads(self.connection.recv(timeout=timeout))
        if "id" in message:
            self._answers[message["id"]] = message
        elif message["method"] == "Target.attachedToTarget":
            parameters = message["params"]
            info = parameters["targetInfo"]
            self._pages.append(
                Page(self, parameters["sessionId"], info["targetId"], info.get("openerId", ""))
            )
            self._send("Runtime.runIfWaitingForDebugger", parameters["sessionId"], {})
        elif message["method"] == "Fetch.requestPaused":
            self._answer_request(message["params"], message["sessionId"])

    def _answer_request(self, paused: Mapping[str, Any], session: str) -> None:
        url, request = paused["request"]["url"], {"requestId": paused["requestId"]}
        self.requested.append(url)
        file = next((path for end, path in self.files.items() if url.endswith(end)), None)
        if file is None:
            self._send("Fetch.failRequest", session, request | {"errorReason": "AddressUnreachable"})
            return
        body = b64encode(file.read_bytes()).decode("ascii")
        self._send("Fetch.fulfillRequest", session, request | {"responseCode": 200, "body": body})

    def _page(self, is_it: Callable[["Page"], bool]) -> "Page":
        deadline = time.monotonic() + TIMEOUT
        while (found := next(filter(is_it, self._pages), None)) is None:
            if time.monotonic() > deadline:
                raise PageError("no such page was opened")
            self._read()
        return found


@dataclass(frozen=True, eq=False)
class Page:
    """
    One page, as its user sees it. Elements are named by CSS selectors.
    """

    browser: Browser = field(repr=False)
    session: str
    target: str
    opener: str

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """
        Send one command about this page.
        """
        return self.browser.call(method, self.session, **parameters)

    def click(self, selector: str, text: str = "") -> None:
        """
        Wait for an element, which has *text* in it, and click it.
        """
        self.wait(f"() => {{ const one = {_find(selector, text)}; one?.click(); return one !== undefined; }}")

    def type(self, selector: str, text: str) -> None:
        """
        Wait for an input, click it, and type *text*.
        """
        self.wait(f"() => {{ const one = {_find(selector, '')}; one?.focus(); return one !== undefined; }}")
        self.call("Input.insertText", text=text)

    def read(self, selector: str, text: str = "") -> str:
        """
        Wait for an element, which has *text* in it, and return all of its text.
        """
        return self.wait(f"() => {_find(selector, text)}?.textContent")

    def wait(self, condition: str) -> str:
        """
        Wait until a JavaScript function returns something true, in whatever document the page has by then.

        Raises:
            PageError: It never did.
        """
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            with suppress(PageError):  # the page just went on to another document
                found = self.call(
                    "Runtime.evaluate",
                    expression=f"({condition})()",
                    userGesture=True,  # or no window opens
                    returnByValue=True,
                )
                if "exceptionDetails" in found:
                    raise ValueError(f"{condition}: {found['exceptionDetails']}")
                if found["result"].get("value"):
                    return str(found["result"]["value"])
            self.browser.listen(POLL)
        raise PageError(f"not in time: {condition}")

    def screenshot(self, path: Path) -> None:
        """
        Write what is seen to *path*, as PNG.
        """
        path.write_bytes(b64decode(self.call("Page.captureScreenshot")["data"]))


def _find(selector: str, text: str) -> str:
    return (
        f"[...document.querySelectorAll({json.dumps(selector)})]"
        f".find(one => one.textContent.includes({json.dumps(text)}))"
    )


@contextmanager
def run_chromium(
    executable: str, *, profile: Path, files: Mapping[str, Path]
) -> Generator[Browser, None, None]:
    """
    Run a browser until the block ends.

    Args:
        executable: The browser.
        profile: A directory of its own.
        files: As of `Browser`.
    """
    command = [executable, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    listener = _Listener(process)
    listener.start()
    try:
        with connect(listener.address(), max_size=None, open_timeout=TIMEOUT) as connection:
            browser = Browser(connection, files)
            browser.call("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=False, flatten=True)
            yield browser
    finally:
        _stop(process)
        listener.join(STOP_TIMEOUT)


class _Listener(threading.Thread):
    """
    Reads what the browser says, to the end: a full pipe would block it.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        super().__init__(daemon=True)
        self._stderr = process.stderr
        self._lines: queue.Queue[str] = queue.Queue()

    def run(self) -> None:
        assert self._stderr is not None
        with self._stderr:
            for line in self._stderr:
                self._lines.put(line)

    def address(self) -> str:
        """
        Wait for where it can be spoken to, which it says among other things.

        Raises:
            RuntimeError: It never did. The message quotes what it said.
        """
        said: list[str] = []
        deadline = time.monotonic() + TIMEOUT
        while not (said and said[-1].startswith(_READY)):
            try:
                said.append(self._lines.get(timeout=max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                raise RuntimeError(f"Chromium did not start; it said:\n{''.join(said)}") from None
        return said[-1].removeprefix(_READY).strip()


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
