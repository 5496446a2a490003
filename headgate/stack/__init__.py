"""The one-machine stack: starts the platform's programs as processes and imports none of them."""
