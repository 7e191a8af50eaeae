"""
Replay: send messages again that failed, were stored, were refused, or are in a file.

``run``           a replay, from a plan to what became of it; begin here
``dead_letters``  messages that failed too often, back to the topics that they failed on
``rows``          rows of ``stream_events`` and ``dead_letters`` as messages
``files``         lines of a file as messages
``messages``      a message to send, its identity, and the tally
``sending``       the publisher, the rate, and Ctrl-C

Replaying is harmless: an event that is stored under its event_id already counts once,
however often it comes. A message that names no event_id has its message id for one, and
is sent with that. Two kinds may count twice: a line of a file that names neither, which
is counted here; and a dead letter without an event_id that was stored before it failed,
since Pub/Sub gives dead letters ids of their own.
"""
