WITH tried AS (
  SELECT 'new_customers' AS metric, a.channel, a.model, a.model_version, a.day, a.new_customers AS actual, a.forecast, a.naive, a.lower, a.upper
  FROM gold.marketing.acquisition_forecast AS a
  WHERE a.is_backtest AND a.new_customers IS NOT NULL
  UNION ALL
  SELECT 'roi' AS metric, r.channel, r.model, r.model_version, r.day, r.roi AS actual, r.forecast, r.naive, r.lower, r.upper
  FROM gold.marketing.roi_forecast AS r
  WHERE r.is_backtest AND r.roi IS NOT NULL
),
missed AS (
  SELECT
    t.metric,
    t.channel,
    t.model,
    t.model_version,
    t.day,
    CAST(ROUND(ABS(t.actual - t.forecast), 4) AS DECIMAL(18, 4)) AS error,
    CAST(ROUND(ABS(t.actual - t.naive), 4) AS DECIMAL(18, 4)) AS naive_error,
    CASE WHEN t.actual BETWEEN t.lower AND t.upper THEN t.day END AS covered
  FROM tried AS t
),
counted AS (
  SELECT
    m.metric,
    m.channel,
    m.model,
    m.model_version,
    CAST(COUNT(m.day) AS BIGINT) AS days,
    CAST(SUM(m.error) AS DOUBLE) AS error,
    CAST(SUM(m.naive_error) AS DOUBLE) AS naive_error,
    CAST(COUNT(m.covered) AS BIGINT) AS covered
  FROM missed AS m
  GROUP BY m.metric, m.channel, m.model, m.model_version
)
SELECT
  c.metric,
  c.channel,
  c.model,
  c.model_version,
  c.days,
  ROUND(c.error / c.days, 4) AS mean_absolute_error,
  ROUND(c.naive_error / c.days, 4) AS naive_absolute_error,
  ROUND(1 - c.error / NULLIF(c.naive_error, 0), 4) AS skill,
  ROUND(CAST(c.covered AS DOUBLE) / c.days, 4) AS coverage
FROM counted AS c
