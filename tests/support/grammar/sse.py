"""A reader of whole event streams that follows the WHATWG text line by line: slow, plain, and nobody's translation."""

import re


def read_sse(stream: bytes) -> list[tuple[str, str]]:
    """Every event as (type, data); an event that the end of the stream cuts off is not dispatched."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    *lines, _unterminated = re.split(r"\r\n|\n|\r", text)
    events: list[tuple[str, str]] = []
    event, data = "", ""
    for line in lines:
        if not line:
            if data:
                events.append((event or "message", data.removesuffix("\n")))
            event, data = "", ""
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            event = value
        elif field == "data":
            data += value + "\n"
    return events
