"""Who provides what the hub needs: the spool's file, the uplink, the sensors' listener."""
