"""OpenLineage: what each step of a run read, wrote and found, told to whatever catalogue listens.

`facts` says what a step knows, `events` makes an event of it, `outbox` keeps events until they are
delivered, `sender` delivers them. Only `events` and `sender` import the OpenLineage client (0.4 s),
so that a run that tells nobody does not pay for it.
"""
