"""
The old name of ``propensity.models.scoring``: pickles of models have it.

A ``model.joblib`` names the module of its classes. Those written before the modules had
rooms are read through this one; nothing else may import it.
"""

from propensity.models.scoring import MeanOfModels

__all__ = ["MeanOfModels"]
