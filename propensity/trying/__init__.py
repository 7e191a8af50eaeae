"""
``propensity try``: a table or a use case is tried, and nothing else is changed.

``tables``    a file or a table of BigQuery, an experiment, and their lists
``use_case``  a use case, on the rows of a deployment
"""
