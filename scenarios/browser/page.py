"""The page at `/` in a browser: a picture is picked, boxes are seen, and all that may go wrong is told.

    python page.py CHROMIUM HOST:PORT ADMIN_TOKEN REPOSITORY [INFER_TOKEN]

The server serves the two detectors of `fixtures/scenes` and asks everybody for INFER_TOKEN, where that is given.
"""

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from chromium import Page

BINARY, URL, ADMIN, REPOSITORY = sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4])
INFER = sys.argv[5] if len(sys.argv) > 5 else None
SCENE = REPOSITORY / "fixtures/scenes/samples/held-out-000.png"
SAID = "document.querySelector('.said').textContent"
LABELS = "[...document.querySelectorAll('figure text')].map((text) => text.textContent)"
ROWS = "document.querySelectorAll('.list tr').length"
FORM = "document.getElementById('token')"


def swap(version):
    body = json.dumps({"version": version}).encode()
    headers = {"authorization": f"Bearer {ADMIN}", "content-type": "application/json"}
    request = urllib.request.Request(f"http://{URL}/api/v1/services/scenes/swap", body, headers)
    for patience in range(300):  # The demo pushes its further versions when the server is ready already.
        try:
            return urllib.request.urlopen(request, timeout=60).close()
        except urllib.error.HTTPError as error:
            assert error.code == 404 and patience < 299, error.read()
            time.sleep(0.1)


def token(page):
    """The form asks until it is given the right token, and what was asked for goes on."""
    page.wait(f"!{FORM}.hidden && {SAID}.includes('needs a token')")
    assert page.evaluate("document.activeElement.id") == "token-value"
    for text, hidden in (("wrong", "false"), (INFER, "true")):
        page.type(text)
        page.press("Enter", 13, "\r")
        page.wait(f"{FORM}.hidden === {hidden} && !{SAID}.startsWith('Asking')")
    assert page.evaluate("Object.keys(localStorage).length + document.cookie.length") == 0
    page.faults = [fault for fault in page.faults if "401" not in fault.get("text", "")]


def boxes(page):
    """Boxes with label and score lie on the picture; the slider, moved by keys, leaves out the less certain ones."""
    page.pick(".look input[type=file]", SCENE)
    if INFER:
        token(page)
    page.wait(f"{SAID}.startsWith('scenes/1 answered in ')")
    labels = page.wait(f"{ROWS} > 0 && {LABELS}")
    names = [label.split()[0] for label in labels]
    assert {"2", "9"} <= set(names) and all(label.endswith(" %") for label in labels), labels
    inside = """(() => {
      const edges = document.querySelector('figure img').getBoundingClientRect();
      const lies = (box) => box.left >= edges.left - 3 && box.right <= edges.right + 3 && box.top >= edges.top - 3
        && box.bottom <= edges.bottom + 3 && box.width > 5 && box.height > 5;
      return [...document.querySelectorAll('figure rect')].every((rect) => lies(rect.getBoundingClientRect()));
    })()"""
    assert page.evaluate(inside), "a box lies beside the picture"
    page.evaluate("document.querySelector('[type=range]').focus()")
    page.press("End", 35)
    page.wait(f"{ROWS} === 0 && {LABELS}.length === 0 && document.querySelector('caption').textContent.startsWith('0 of ')")
    page.press("Home", 36)
    page.wait(f"{ROWS} >= {len(labels)} && {LABELS}.length >= {len(labels)}")


def drop(page, kind):
    """What is dropped, or pasted, goes the same way."""
    page.evaluate("""(kind) => {
      const data = new DataTransfer();
      data.items.add(new File(["no picture"], "notes.png", { type: "image/png" }));
      const given = kind === "drop" ? { dataTransfer: data } : { clipboardData: data };
      const event = new (kind === "drop" ? DragEvent : ClipboardEvent)(kind, { ...given, bubbles: true, cancelable: true });
      document.querySelector(kind === "drop" ? ".drop" : "body").dispatchEvent(event);
    }""".join(("(", f")({json.dumps(kind)})")))
    page.wait(f"{SAID} === 'read picture: it is no JPEG, PNG or WebP'")
    assert page.evaluate(f"{ROWS} + {LABELS}.length") == 0
    page.faults = [fault for fault in page.faults if "400" not in fault.get("text", "")]


with Page(BINARY) as page:
    page.open(f"http://{URL}/")
    assert page.evaluate("document.querySelectorAll('.look').length") == 1
    boxes(page)
    swap("scenes/2")
    page.evaluate("document.querySelector('.look button').click()")
    page.wait(f"{SAID}.startsWith('scenes/2 answered in ')")
    drop(page, "drop")
    page.pick(".look input[type=file]", SCENE)
    page.wait(f"{SAID}.startsWith('scenes/2 answered in ')")
    drop(page, "paste")
    swap("scenes/1")
    assert not page.faults, page.faults
