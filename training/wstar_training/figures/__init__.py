"""Figures of a study, one file each; `material` gathers what they are drawn from."""
