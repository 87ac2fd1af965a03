"""Acquisition files to (array, axes, metadata) and back; never napari."""
