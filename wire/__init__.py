"""The contract both shores sign: what a hub may say and what the cloud may answer."""
