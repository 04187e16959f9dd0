"""Other people's networks and weights: formats, families, registry, baselines, export."""
