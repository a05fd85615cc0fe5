"""The half of a Python driver that does not depend on the client library.

A driver is a process that the tests speak to: one request on each line of its
standard input, one answer on each line of its standard output, both JSON. Keys,
values and headers are base64, or null.
"""

import base64
import json
import sys
import traceback

FROM_START, FROM_END = -2, -1


class TooLarge(Exception):
    """The broker refused a message for its size."""


def unpack(text):
    return None if text is None else base64.b64decode(text)


def pack(data):
    return None if data is None else base64.b64encode(data).decode()


def record(partition, offset, timestamp, key, value, headers):
    return {
        "partition": partition, "offset": offset, "time": timestamp, "key": pack(key), "value": pack(value),
        "headers": [[name, pack(content)] for name, content in headers or []],
    }


def headers_of(r):
    return [(name, unpack(content)) for name, content in r["headers"] or []]


def serve(driver):
    """Answers requests until there are no more: each is a call of a method of driver."""
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"result": getattr(driver, request.pop("op"))(**request)}
        except TooLarge as e:
            answer = {"error": str(e), "too_large": True}
        except Exception:  # whatever a client raises is the test's to judge
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)
