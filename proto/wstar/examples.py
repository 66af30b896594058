"""Examples of each command, as its help shows them; they run one after the other, as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

EXAMPLES: Mapping[str, Sequence[str]] = {
    "info": ["wstar info", "wstar info --json"],
    "embed": [
        "wstar embed faces/ --output codes.npz",
        "wstar embed faces/ --f16 --output codes.parquet",
        "wstar embed faces/ --shard 2/4 --output codes-2.npz",
    ],
    "distance": [
        "wstar distance a.png b.png --explain",
        "wstar distance a.png b.png --ignore Smiling,Mouth_Slightly_Open",
        "wstar distance a.png codes.npz --json",
    ],
    "classify": [
        "wstar classify a.png b.png --attributes Smiling,Young",
        "wstar classify codes.parquet --json",
    ],
    "edit": [
        "wstar edit a.png --set Smiling=0.95 --preserve Young --output smile.png",
        "wstar edit a.png --set Smiling=0.95 --strengths 0,0.5,1 --output strip.png",
        "wstar edit a.png --set Smiling=0.9 --max-squared-distance 2e-4 --remeasure --output c.jpg",
    ],
    "neighbors": [
        "wstar neighbors a.png --among codes.npz --count 5",
        "wstar neighbors codes-2.npz --among codes.npz --json",
    ],
    "cluster": [
        "wstar cluster codes.npz --within 0.1",
        "wstar cluster codes.npz --into 8 --seed 1 --json",
    ],
}
