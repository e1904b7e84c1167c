"""The larger networks that experiments train."""
