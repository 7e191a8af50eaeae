"""
Pages: what every page has in common, whoever it is about; one HTML file that needs
nothing else.

- ``words``: words and numbers as a page writes them
- ``charts``: inline SVG
- ``series``: inline SVG, by week or hour
- ``page``: templates, filled; they escape whatever they are given
- ``templates/``: ``page.html``, the frame and the look; ``look.html``, the parts
"""
