"""A rehearsal on Google Cloud: what holds in a project, and what does not.

run.py           begins, asks, takes everything away; start here
google_cloud.py  a place on Google Cloud, made and removed by the scripts of ``deploy/``
steps.py         a deployment's first weeks: the demo's steps, played there
questions.py     what only Google can answer, each asked by itself
"""
