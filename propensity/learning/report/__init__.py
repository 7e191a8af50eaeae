"""
Reports: a version, or an evaluated week, as a page; one HTML file that needs nothing
else.

- ``version``: the card of a version; ``week``: an evaluated week, beside those before
- ``templates/``: the pages' texts; look, charts and formats are those of ``pages``
"""
