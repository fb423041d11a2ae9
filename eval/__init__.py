"""Studies over saved runs: one file each, run with ``python -m eval.<study>``."""
