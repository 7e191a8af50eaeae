"""
``propensity try``: a table, an export or a use case is tried; nothing else is changed.

``tables``    a file or a table of BigQuery, an experiment, and their lists
``use_case``  a use case, on the rows of a deployment
``export``    an export of GA4, with read rights
``lists``     its list with a control group, and what contacting brought
"""
