"""Change events: from the text that Debezium wrote to typed rows in one total order. Pure."""
