"""RabbitMQ as Headgate needs it: what must be there, put there, and checked to be there."""
