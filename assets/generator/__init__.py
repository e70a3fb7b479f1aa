"""Believable data of a domain in a real database: its tables, years of mass, a story full of awkward turns."""
