"""
Pages: what every page has in common; one HTML file that needs nothing else.

- ``words``: numbers as a page writes them
- ``page``: templates, filled, which escape whatever they are given; charts, as inline
  SVG: lines and histograms
- ``findings``: what can be wrong, and what each means for people who got a message
- ``templates/``: ``page.html``, the frame and the look; ``look.html``, the parts,
  bars among them

It may import the ground alone. Tests: ``tests/propensity/pages``.
"""
