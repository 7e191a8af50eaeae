"""
The laptop's wing: a table, an export or a use case is tried, and a use case begun.

Nothing that is deployed imports it, and no deploy holds it.

``program``   the program of a wheel; begin here
``verbs``     the command ``try``; ``usecase_verbs``: the one that writes a use case
``sentences``    what people read of their answers
``example``   the table that comes along
``tables``    a file or a table of BigQuery, an experiment, and their lists
``duel``      their list beside the one that somebody makes today
``use_case``  a use case, on the rows of a deployment
``export``    an export of GA4, with read rights
``lists``     its list with a control group, and what contacting brought
``weekly``    a list each Monday in a ``folder``, and what the last ones brought
``first_look/``    a table, tried, without reading or writing
``new_use_case``    the folder of a new use case, from ``templates/``

It may import all other rooms. Tests: ``tests/propensity/trying``,
``tests/functions/test_trying.py``, ``test_trying_example.py``.
"""
