"""How well a space keeps its promises, on codes that trained nothing."""
