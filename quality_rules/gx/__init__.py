"""Great Expectations on Polars: an execution engine, a datasource, suites made of rules, Data Docs.

`engine` answers metrics, each an aggregate of one lazy pass; `predicates` says when a row is as
expected, `aggregates` what is counted of a column; `metrics` registers both; `source` brings
LazyFrames and Delta tables as batches; `suite` compiles rules. Importing any of these imports Great
Expectations: five seconds and 270 MB. No row of a batch ever becomes a pandas frame.
"""
