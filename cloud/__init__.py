"""The cloud: stages that store, detect, alert and answer."""
