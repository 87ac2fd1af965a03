"""The only importer of napari, magicgui and Qt."""
