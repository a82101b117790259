"""A page in headless Chromium, driven by its DevTools protocol over a pipe, and what its console says."""

import json
import os
import select
import shutil
import subprocess
import time
from itertools import count

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe",
    "--no-first-run", "--disable-background-networking", "--autoplay-policy=no-user-gesture-required",
)  # fmt: skip


class Browser:
    """One tab; `with Browser(folder) as browser`, whose profile is in the folder."""

    def __init__(self, folder, *options, seconds=60):
        self.command = [CHROMIUM, *OPTIONS, f"--user-data-dir={folder}", *options, "about:blank"]
        self.seconds, self.numbers, self.read = seconds, count(1), b""
        self.complaints, self.requests = [], []

    def __enter__(self):
        (given, self.to), (self.of, answered) = os.pipe(), os.pipe()
        command = ["bash", "-c", f'exec "$@" 3<&{given} 4>&{answered}', "bash", *self.command]
        self.process = subprocess.Popen(
            command, pass_fds=(given, answered), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(given)
        os.close(answered)
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_):
        self.session = None
        self.call("Browser.close")
        self.process.wait(self.seconds)
        os.close(self.to)
        os.close(self.of)

    def call(self, method, **params):
        """The result of a method of the protocol; meanwhile errors and warnings are collected."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        message |= {"sessionId": self.session} if self.session else {}
        left = json.dumps(message).encode() + b"\0"
        while left:
            left = left[os.write(self.to, left) :]
        while True:
            answer = self.receive()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def receive(self):
        """The next message."""
        end = time.monotonic() + self.seconds
        while b"\0" not in self.read:
            ready, _, _ = select.select([self.of], [], [], max(end - time.monotonic(), 0))
            assert ready, "the browser is silent"
            part = os.read(self.of, 1 << 20)
            assert part, "the browser has ended"
            self.read += part
        text, _, self.read = self.read.partition(b"\0")
        answer = json.loads(text)
        about, method = answer.get("params", {}), answer.get("method")
        if method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(about["exceptionDetails"])
        elif method == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
            self.complaints.append(about["args"])
        elif method == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.complaints.append(about["entry"])
        return answer

    def open(self, path, width=1000, dark=False):
        """Load a file as a page of `width` pixels."""
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        ])  # fmt: skip
        self.resize(width)
        self.loaded = False
        self.call("Page.navigate", url=path.absolute().as_uri())
        while not self.loaded:
            self.receive()

    def resize(self, width, height=900):
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
            mobile=width < 600,
        )  # fmt: skip

    def run(self, script):
        """The value of an expression in the page, or of the promise that it is."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def pick(self, selector, paths):
        """Choose files in an <input>."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path.absolute()) for path in paths])
