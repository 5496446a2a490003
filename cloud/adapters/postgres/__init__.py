"""PostgreSQL: the only folder of the cloud that knows asyncpg. SQL lives in ``.sql`` beside it."""
