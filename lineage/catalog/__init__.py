"""The catalog page: what is known of every table, as files that open from a disk without a network.

`site.write_site` writes them from values of `model`; who gathers those values is none of its business.
"""
