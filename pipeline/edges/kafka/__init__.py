"""Kafka as the engine meets it: columns in, transactions out, and the administration of topics and offsets."""
