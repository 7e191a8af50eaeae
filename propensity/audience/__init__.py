"""
Audiences: who is treated, who is held out, and what became of sending them.

- ``run``: the preview, the delivery and the end; opens the destination; begin here
- ``declared``: the file of an audience, and its statement
- ``members``: the audience of an as-of date, chosen once and stored; its sums
- ``control``: the draw of a control group, one for all audiences of its name
- ``spelling``: the form of an address, for the draw and for receivers
- ``requests``: who is still to be sent, a page at a time, and the log of requests:
  pending, then accepted or rejected; ``delivery`` sends them one after the other
- ``lists``: who is on the list of a destination
- ``plan``: what an audience may bring and can prove, before it is sent
- ``stopping``: audiences that a person has stopped
- ``uplift``: whether it helped, once outcomes are known, with intervals up to a
  ``boundary``; ``result``: in money, as a sentence
- ``programme``: what all audiences of a control group brought together
- ``destination``: what sends a request: ``http``, an endpoint; ``google``, Analytics or
  a customer list of Google Ads; ``files``, Parquet and CSV in the bucket
- ``templates``, ``values``: what is sent, filled with the columns of an audience's SQL
- ``answers``, ``forms``: what a receiver says, and whom it rejects
- ``warnings``: what a person should know before an audience is sent
- ``webhook``: a chat that gets the weekly message
"""
