"""A page in a headless Chromium, driven over its own protocol through two pipes: no port, no driver, no package."""

import json
import os
import subprocess
import tempfile
import time

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
]
PATIENCE = 30


class Page:
    """A tab of a browser of its own. What went wrong in it is kept in `faults`."""

    def __init__(self, binary, width=1000, height=1400):
        self.folder = tempfile.TemporaryDirectory(prefix="tenon-browser-", ignore_cleanup_errors=True)
        (read_commands, commands), (answers, write_answers) = os.pipe(), os.pipe()
        # The browser reads commands from 3 and writes answers to 4; first out of the way of each other.
        inherited = [os.dup(read_commands), os.dup(write_answers)]
        os.close(read_commands), os.close(write_answers)

        def place():
            high = [os.dup2(end, 100 + at) for at, end in enumerate(inherited)]
            for at, end in enumerate(high):
                os.dup2(end, 3 + at)

        self.process = subprocess.Popen(
            [binary, *FLAGS, f"--user-data-dir={self.folder.name}", f"--window-size={width},{height}", "about:blank"],
            preexec_fn=place, close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in inherited:
            os.close(end)
        self.commands, self.answers = os.fdopen(commands, "wb", 0), os.fdopen(answers, "rb", 0)
        self.number, self.kept, self.faults, self.session = 0, b"", [], None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()

    def call(self, method, **params):
        """Sends a command and gives its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.commands.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self.hear()
            if answer.get("id") == self.number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def hear(self):
        while b"\0" not in self.kept:
            read = os.read(self.answers.fileno(), 1 << 16)
            assert read, "the browser has ended"
            self.kept += read
        message, self.kept = self.kept.split(b"\0", 1)
        message = json.loads(message)
        if message.get("method") == "Runtime.exceptionThrown":
            self.faults.append(message["params"]["exceptionDetails"])
        if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            self.faults.append(message["params"]["entry"])
        return message

    def evaluate(self, expression):
        """The value of an expression on the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, expression):
        """Waits until an expression on the page is true, and gives its value."""
        until = time.monotonic() + PATIENCE
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < until, f"not true in {PATIENCE} s: {expression}\n{self.evaluate('document.body.innerText')}"
            time.sleep(0.02)
        return value

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.wait(f"document.readyState === 'complete' && location.href === {json.dumps(url)}")

    def pick(self, selector, path):
        """Picks a file in an input, as a person does in the dialogue."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def press(self, key, code=0, text=""):
        event = {"key": key, "code": key, "windowsVirtualKeyCode": code, "text": text}
        self.call("Input.dispatchKeyEvent", type="keyDown", **event)
        self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def type(self, text):
        self.call("Input.insertText", text=text)
