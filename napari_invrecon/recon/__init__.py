"""The inversion: operators, fidelities, regularisers, solvers, and one module for each modality."""
