"""
The old name of ``propensity.models.half_space_trees``: pickles of models have it.

A ``model.joblib`` names the module of its classes. Those written before the modules had
rooms are read through this one; nothing else may import it.
"""

from propensity.models.forest import Forest as _Forest
from propensity.models.half_space_trees import HalfSpaceTrees

__all__ = ["HalfSpaceTrees", "_Forest"]
