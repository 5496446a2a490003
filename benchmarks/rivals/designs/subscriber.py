"""What a first script looks like: subscribe with paho, INSERT each message.

Run in the rivals' own environment.
"""

import json
import os
from typing import Any

import paho.mqtt.client as mqtt
import psycopg  # type: ignore[import-not-found]
from paho.mqtt.enums import CallbackAPIVersion

INSERT = (
    "insert into rival_readings (sensor_id, timestamp, ph_level, temperature, turbidity,"
    " conductivity) values (%(sensor_id)s, %(timestamp)s, %(pH)s, %(temp)s, %(turbidity)s,"
    " %(conductivity)s)"
)


def main() -> None:
    """Subscribe and insert until ended."""
    database = psycopg.connect(os.environ["RIVAL_DATABASE"], autocommit=True)

    def insert(_client: mqtt.Client, _told: Any, message: mqtt.MQTTMessage) -> None:
        database.execute(INSERT, json.loads(message.payload))

    client = mqtt.Client(CallbackAPIVersion.VERSION2, "subscriber", clean_session=False)
    client.on_message = insert
    client.connect("127.0.0.1", int(os.environ["RIVAL_MQTT_PORT"]))
    client.subscribe("sensors/+/data", qos=1)
    client.loop_forever()


if __name__ == "__main__":
    main()
