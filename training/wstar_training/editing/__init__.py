"""Edits judged by networks that no loss has seen: made, looked at, compared, put into tables."""

from wstar_training.editing.report import edit_agreement, editing_report
from wstar_training.editing.tables import editing_tables

__all__ = ["edit_agreement", "editing_report", "editing_tables"]
