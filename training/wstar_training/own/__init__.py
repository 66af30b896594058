"""The study of a researcher's own files."""
