"""
The dashboard: what the tables say, as pages that need no server.

``scheduled``  what ``overview`` of 05-Audiences does each Monday; begin here
``reading``    the statements, bounded by dates, and their rows
``cases``      a use case with its rows and what no table says of it, such as its live
               version: what changed, and what needs attention
``pages``      ``Dashboard``: all that is shown; its templates, filled, and its charts
``writing``    all pages of a deployment, written in order
``message``    the same in five sentences, to a chat

No page has the id of a user.

It may import ``runs`` and what stands below it. Tests: ``tests/propensity/dashboard``.
"""
