"""
Propensity: a probability per user from the behaviour that BigQuery already holds.

The one package that the Cloud Functions share. Every deploy stages a copy of it
beside the function's ``main.py``.
"""
