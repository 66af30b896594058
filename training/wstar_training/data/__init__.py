"""What others publish about faces: labels, splits, masks, boundaries, codes; joined by name."""
