"""The authority: keys, signatures and the folder they are kept in."""
