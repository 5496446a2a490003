"""The command line and the one-machine stack; starts the programs as processes."""
