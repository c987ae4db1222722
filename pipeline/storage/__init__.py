"""One set of verbs over disks and object stores: a name, once there, means the same bytes for ever.

Of many writers who create a name at once, one wins, and every one of them is told truly whether it did.
"""
