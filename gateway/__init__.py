"""The cloud front: the doors that authenticate and admit."""
