"""
The former place of ``ValueModel``: files of older versions name the class by it.
"""

from propensity.models.scoring import ValueModel

__all__ = ["ValueModel"]
