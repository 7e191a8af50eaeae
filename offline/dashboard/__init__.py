"""
The dashboard: what the tables say, as pages that need no server.

``run``      reads a deployment, fills the pages, writes them; begin here
``reading``  the statements, bounded by dates, and their rows
``facts``    what no table says: folders, pointers, reports of weeks
``cases``    a use case with its rows: what changed, and what needs attention
``pages``    what each template of ``templates/`` is filled with
``charts``   charts of rows, each with the statement that gives it
``writing``  pages into a folder or a bucket

No page has the id of a user.
"""
