"""
The report: a card as a page to read, one HTML file that needs nothing else.

- ``page``: the templates, filled
- ``users``, ``events``: what stands on the page of either kind of model
- ``choice``: how the candidate was chosen
- ``content``: what stands on both; ``dataset``: what they say of the data
- ``selection``: what comes of acting on the best of them
- ``charts``: inline SVG
- ``words``: words and numbers
- ``templates/``: the page itself; they escape whatever they are given
"""
