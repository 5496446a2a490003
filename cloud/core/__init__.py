"""Decisions of the cloud, pure: values in, values out, time included."""
