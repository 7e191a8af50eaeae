"""
Reports: a card, or an evaluated week, as a page; one HTML file that needs nothing else.

- ``page``: the card, as content of a page
- ``users``, ``events``: what stands on the page of either kind of model
- ``choice``: how the candidate was chosen
- ``content``: what stands on both; ``dataset``: what they say of the data
- ``week``: an evaluated week; ``promise``: what was promised of it, against what came
- ``weeks``: that week beside those before it
- ``selection``: what comes of acting on the best of them
- ``templates/``: the pages themselves; look, charts and words are those of ``pages``
"""
