"""
The old name of ``propensity.models.anomaly``: pickles of models have it.

A ``model.joblib`` names the module of its classes. Those written before the modules had
rooms are read through this one; nothing else may import it.
"""

from propensity.models.anomaly import AnomalyModel

__all__ = ["AnomalyModel"]
