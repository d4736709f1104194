"""Where the engine meets the world: Kafka, the Faust host, HTTP, metrics, the embedded broker."""
