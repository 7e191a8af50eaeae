"""
Pages: what every page has in common; one HTML file that needs nothing else.

- ``words``: numbers as a page writes them
- ``charts``: inline SVG: lines and histograms
- ``page``: templates, filled; they escape whatever they are given
- ``templates/``: ``page.html``, the frame and the look; ``look.html``, the parts,
  bars among them
"""
