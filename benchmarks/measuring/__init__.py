"""How benchmarks measure: ``report`` compares and prints, ``serving`` runs servers."""
