"""Floor 4: SimPy models of whole systems."""
