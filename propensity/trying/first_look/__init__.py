"""
A first look: how well the columns of a labelled table predict its label.

Nothing here reads or writes outside the process; models and metrics are ``learning``'s.

- ``table``: a table, tried; ``ranking``: whether its model tells rows apart
- ``alone``: what a column tells by itself
- ``reading``: the table, read; ``columns``: what its columns hold; steps of time
- ``training``: the training of a table, and the sample of one with many rows
- ``scores``: the rows whose outcome is open, for a list; ``reasons``: why
- ``who``: what tells the chosen from the others
- ``experiment``: users contacted at random: list and page; ``experiment_rows``: read
- ``arms``, ``advice``: what contacting added, and in words whom to contact
"""
