"""Alert: findings become someone's business, once."""
