"""The demonstration: real readings and live scores through a real Kafka, checked against a direct computation."""
