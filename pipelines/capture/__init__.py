"""How records come in: from Kafka or from recorded files, as batches that landing writes."""
