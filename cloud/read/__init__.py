"""Reading: what the store holds, written for people and programs."""
