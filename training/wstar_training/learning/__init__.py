"""How T is trained: what it learns from, what it minimises, and the loop."""
