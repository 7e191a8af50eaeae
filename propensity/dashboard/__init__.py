"""
The dashboard: what the tables say, as pages that need no server.

``run``      reads a deployment, fills the pages, writes them; begin here
``reading``  the statements, bounded by dates, and their rows
``cases``    a use case with its rows and what no table says of it, such as its live
             version: what changed, and what needs attention
``pages``    what each template of ``templates/`` is filled with, and its charts

No page has the id of a user.
"""
