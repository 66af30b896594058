"""What each command of `wstar` does: read its arguments, find the answer, print it.

Each returns its exit code.
"""

from wstar.commands.ask import classify, distance, info
from wstar.commands.edit import edit
from wstar.commands.embed import embed
from wstar.commands.stored import cluster, neighbors

__all__ = ["classify", "cluster", "distance", "edit", "embed", "info", "neighbors"]
