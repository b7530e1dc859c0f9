"""Studies with real pretrained models and real text, which ``make real`` runs; no part of the package."""
