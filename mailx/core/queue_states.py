"""The states of the queue's entries in the words of administrators, and what each of their commands is good for."""

STATES = ("pending", "sending", "deferred", "held", "sent", "failed")
WAITING = ("pending", "sending", "deferred", "held")
CHANGEABLE = {  # the states in which a command finds something to do
    "retry": ("pending", "deferred", "held", "failed"),
    "hold": ("pending", "deferred"),
    "release": ("held",),
    "bounce": ("pending", "deferred", "held"),
    "delete": ("pending", "deferred", "held", "sent", "failed"),
}
# What a filter means where it does not name states: the senders of dead letters were told, and what is held is held for a reason.
MEANT = {"retry": ("pending", "deferred")}
