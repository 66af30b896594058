"""Programs that only some exports need, and that are therefore not installed with all of them."""

from __future__ import annotations

from wstar.errors import WstarError


class ToolMissing(WstarError):
    """A tool that is not installed, and the command that installs it."""

    def __init__(self, tool: str, purpose: str, install: str) -> None:
        super().__init__(f"{tool} is not installed; {purpose} needs it: {install}")
        self.tool = tool
