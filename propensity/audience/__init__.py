"""
Audiences: who is treated, who is held out, and what became of sending them.

- ``run``: the preview, the delivery and the end; begin here
- ``declared``: the file of an audience, and its statement; ``receivers``: the files of
  destinations
- ``members``: the audience of an as-of date, chosen once and stored; its sums
- ``control``: the draw of a control group, one for all audiences of its name
- ``requests``: who is still to be sent, a page at a time, and the log of requests:
  pending, then accepted or rejected; ``delivery`` sends them one after the other
- ``stopping``: who is on the lists of destinations, and what waits; ``stop_file``: what
  a person has stopped
- ``plan``: what an audience may bring and can prove, and warnings, before it is sent
- ``result``: what it brought in money, as a sentence, once outcomes are known
  (``measures.uplift``); ``programme``: of all audiences of a control group
- ``destinations/``: what sends a request, a module for each kind of receiver

It may import ``registry``, ``ga4`` and what stands below them. Tests:
``tests/propensity/audience``, ``tests/audit``.
"""
