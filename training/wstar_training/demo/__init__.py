"""The demo world: procedural faces whose every attribute is known."""
