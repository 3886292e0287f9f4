"""The server under test, as the scripts beside this are told of it.

    python SCRIPT HOST:PORT ADMIN_TOKEN REPOSITORY
"""

import sys
from pathlib import Path

URL, TOKEN, REPOSITORY = sys.argv[1], sys.argv[2], Path(sys.argv[3])
HEADERS = {"authorization": f"Bearer {TOKEN}"}
FIXTURES = REPOSITORY / "fixtures"


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
