"""What a record is good for: check it, run it again, say in words and in a script what was done; never napari."""

from napari_invrecon.recon.on_demand import modules_of

__getattr__ = modules_of(__name__)
