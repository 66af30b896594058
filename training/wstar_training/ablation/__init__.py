"""The paper's variants of T, trained and measured side by side."""
