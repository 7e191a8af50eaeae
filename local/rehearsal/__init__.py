"""The first half hour on Google Cloud, rehearsed: what holds there, and what does not.

run.py           begins, asks, takes everything away, and bills; start here
ground.py        what a rehearsal stands on, and the emulators of this machine
google_cloud.py  a project on Google Cloud, by the scripts of ``deploy/``
steps.py         a deployment's first weeks, from the first training to a rollback
questions.py     what only Google can answer, each asked by itself
probes.py        a probe: the sentence of a page, and what was seen of it
report.py        the page, without ids and names
"""
