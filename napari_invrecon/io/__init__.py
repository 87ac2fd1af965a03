"""Acquisition files to (array, axes, metadata) and back; never napari."""

from napari_invrecon.io.acquisition import Acquisition, Axis
from napari_invrecon.io.describe import describe
from napari_invrecon.io.formats import EXTENSIONS, WRITABLE, read, write
from napari_invrecon.io.rosetta import MissingReaderError

__all__ = ["EXTENSIONS", "WRITABLE", "Acquisition", "Axis", "MissingReaderError", "describe", "read", "write"]
