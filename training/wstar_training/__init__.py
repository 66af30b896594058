"""Training of the W* spaces and of the demo world."""
