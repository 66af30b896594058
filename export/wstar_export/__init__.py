"""From checkpoints to a repository of graphs."""
