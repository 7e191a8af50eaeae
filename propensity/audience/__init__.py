"""
Audiences: who is treated, who is held out, and what became of sending them.

- ``run``: the preview, and the delivery; opens the destination; begin here
- ``declared``: the file of an audience, and its statement
- ``members``: the audience of an as-of date, chosen once and stored
- ``control``: the draw of a control group, one for all audiences of its name
- ``delivery``: a request of users, and what takes it; requests that are left, sent one
  after the other, and the ledger of their users: pending, then accepted or rejected
- ``plan``: what an audience may bring and can prove, before it is sent
- ``uplift``: whether it helped, once outcomes are known
- ``http``, ``google``: an endpoint, and Analytics or a customer list of Google Ads
- ``warnings``: what a person should know before an audience is sent
- ``files``: Parquet and CSV in the bucket
"""
