"""
An evaluated week, for people: in 03's report, on the dashboard, in the weekly message.

- ``judged``: what was expected of it beside what came, and when that is an alarm
- ``week_report``: its page; ``evaluations``: rows of weeks, and the page's name

It may import ``usecases``, ``measures`` and what stands below them. Tests:
``tests/propensity/learning/test_report.py``.
"""
