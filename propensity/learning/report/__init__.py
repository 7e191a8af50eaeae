"""
The report: a card as a page to read, one HTML file that needs nothing else.

- ``page``: the card, as content of a page
- ``users``, ``events``: what stands on the page of either kind of model
- ``choice``: how the candidate was chosen
- ``content``: what stands on both; ``dataset``: what they say of the data
- ``selection``: what comes of acting on the best of them
- ``templates/``: the pages themselves; look, charts and words are those of ``pages``
"""
