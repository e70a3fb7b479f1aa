"""Rows pulled from APIs: JSON over HTTP, page by page, each thing said once in bronze."""
