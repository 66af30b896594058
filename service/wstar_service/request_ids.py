"""The id that a call has in logs, replies and errors."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable

REQUEST_ID = "x-request-id"
_FORM = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def request_id(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """Take over the caller's id if it is fit for a log, or make one up."""
    for key, value in metadata or ():
        if key == REQUEST_ID and isinstance(value, str) and _FORM.fullmatch(value):
            return value
    return uuid.uuid4().hex[:16]
