WITH days AS (
  SELECT MAX(d.day) AS as_of
  FROM silver.marketing.campaign_days AS d
),
minutes AS (
  SELECT DATE_TRUNC('hour', MAX(m.minute)) + INTERVAL '1 hour' AS live_until
  FROM silver.marketing.live_metrics AS m
)
SELECT
  CAST(1 AS INTEGER) AS clock_id,
  d.as_of,
  m.live_until
FROM days AS d
CROSS JOIN minutes AS m
WHERE d.as_of IS NOT NULL
