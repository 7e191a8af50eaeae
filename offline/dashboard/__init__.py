"""
The dashboard: what the tables say, as pages that need no server.

``run``         reads a deployment, makes the pages, writes them; begin here
``reading``     the statements, each with its parameters, and the rows of each
``filled``      a statement with its parameters as values, to run anywhere else
``cases``       what rows say of a use case: what changed, what it is worth, what to do
``ranking``     what a week's ROC AUC says beside the one before
``late``        what of it should have come, and has not
``parts``       charts, tables and words that several pages have, and links to the SQL
``overview``    the page of all use cases
``use_case``    the page of one use case
``drifted``     what stands there about drift
``amounts``     what stands there about expected values and what was paid
``stream``      the page of the stream, by hour
``fraud``       the page of alerts and of what they saved, by version
``audiences``   the page of audiences, and whether acting helped
``runs``        the page of runs and of their cost, and that of the statements
``reports``     those of evaluated weeks: links to them, and copies
``site``        all pages by the name of their file
``writing``     a site into a folder or a bucket

Only ``run``, ``reading``, ``reports`` and ``writing`` do anything but compute: the
others make content of rows.
"""
