SELECT aid, bid, abalance
FROM silver.pgbench.accounts
WHERE abalance < 0
