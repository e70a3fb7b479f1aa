"""Files of rows: checked at the door, and into bronze whole or set aside whole."""
