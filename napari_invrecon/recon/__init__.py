"""The inversion: operators, fidelities, regularisers, solvers, and one module for each modality."""

from napari_invrecon.recon.on_demand import modules_of

__getattr__ = modules_of(__name__)
