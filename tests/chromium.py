"""A headless Chromium that opens a file and answers questions about it.

It speaks the DevTools protocol over two pipes: messages are JSON that end in a zero byte.
"""

import json
import os
import shutil
import subprocess
import time
from contextlib import contextmanager, suppress

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
PATIENCE = 60


def find_chromium():
    found = [path for path in map(shutil.which, NAMES) if path]
    assert found, f"none of {', '.join(NAMES)} is installed"
    return found[0]


@contextmanager
def chromium(profile):
    """Start a browser with a fresh profile folder, and end it."""
    ours_in, its_out = os.pipe()
    its_in, ours_out = os.pipe()
    high = [os.dup2(end, 200 + place) for place, end in enumerate((its_in, its_out))]
    for end in (its_in, its_out):
        os.close(end)

    def give_pipes():  # the browser reads from descriptor 3 and writes to 4
        os.dup2(200, 3)
        os.dup2(201, 4)

    process = subprocess.Popen(
        [find_chromium(), *OPTIONS, f"--user-data-dir={profile}", "about:blank"],
        preexec_fn=give_pipes,
        close_fds=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for end in high:
        os.close(end)
    os.set_blocking(ours_in, False)
    browser = Browser(ours_in, ours_out)
    try:
        yield browser
    finally:
        browser.close()
        try:
            process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for end in (ours_in, ours_out):
            os.close(end)


class Browser:
    """The other end of the pipes."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.number, self.rest, self.events = 0, b"", []

    def ask(self, method, session=None, **params):
        """Send a command and return what it answers; events are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self.writer, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, event):
        while not any(found.get("method") == event for found in self.events):
            self.events.append(self._read())

    def _read(self):
        end = time.monotonic() + PATIENCE
        while b"\0" not in self.rest:
            try:
                chunk = os.read(self.reader, 1 << 20)
                assert chunk, "the browser has ended"
                self.rest += chunk
            except BlockingIOError:
                assert time.monotonic() < end, "the browser does not answer"
                time.sleep(0.005)
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def open(self, url, width=1280, scheme="light"):
        """Open a page in a tab of its own, at a width and in a colour scheme."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.events.clear()
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.ask(f"{domain}.enable")
        page.resize(width)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        page.ask("Emulation.setEmulatedMedia", features=[feature])
        page.ask("Page.navigate", url=url)
        self.wait_for("Page.loadEventFired")
        return page

    def close(self):
        with suppress(AssertionError, OSError):  # it may have gone already
            self.ask("Browser.close")


class Page:
    """An open page."""

    def __init__(self, browser, session):
        self.browser, self.session = browser, session

    def ask(self, method, **params):
        return self.browser.ask(method, self.session, **params)

    def resize(self, width, height=900):
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def run(self, script):
        """Return the value of a JavaScript expression."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def complaints(self):
        """Return what was logged as an error or thrown, and every warning."""
        self.run("0")  # what was said before has arrived by then
        kinds = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        return [event for event in self.browser.events if event.get("method") in kinds]

    def requests(self):
        """Return the addresses that were asked for."""
        self.run("0")
        return [
            event["params"]["request"]["url"]
            for event in self.browser.events
            if event.get("method") == "Network.requestWillBeSent"
        ]
