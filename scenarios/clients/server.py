"""The server under test, as the scripts beside this are told of it.

    python SCRIPT HOST:PORT ADMIN_TOKEN REPOSITORY
"""

import base64
import json
import sys
import urllib.request
from pathlib import Path

URL, TOKEN, REPOSITORY = sys.argv[1], sys.argv[2], Path(sys.argv[3])
HEADERS = {"authorization": f"Bearer {TOKEN}"}
FIXTURES = REPOSITORY / "fixtures"
# A picture for the service `scenes`, whose classes 0 to 9 are called by their digits.
SCENE = (FIXTURES / "scenes/samples/held-out-000.png").read_bytes()


def model(name):
    """The bytes of a model of the fixtures."""
    return (FIXTURES / name).read_bytes()


def refused(call, *words):
    """Checks that a call is refused with these words, and gives the refusal."""
    try:
        call()
    except Exception as error:  # noqa: BLE001: each client has its own class for refusals
        for word in words:
            assert word in str(error), f"{error!s} does not say {word!r}"
        return error
    raise AssertionError(f"expected a refusal with {words}")


def load(name, fixture):
    """Loads a model into a service over the repository protocol, for clients that cannot."""
    content = base64.b64encode(model(fixture)).decode()
    body = json.dumps({"parameters": {"config": "{}", "file:1/model.onnx": content}}).encode()
    request = urllib.request.Request(f"http://{URL}/v2/repository/models/{name}/load", body, HEADERS)
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200, answer.read()
