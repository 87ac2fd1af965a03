"""Dock widgets, one modality a file."""
