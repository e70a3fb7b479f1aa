SELECT t.tid, t.bid, t.tbalance, b.bbalance
FROM silver.pgbench.tellers AS t
JOIN silver.pgbench.branches AS b ON b.bid = t.bid
