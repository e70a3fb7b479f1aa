WITH ages AS (
  SELECT CAST(0 AS BIGINT) AS age_days
  UNION ALL
  SELECT CAST(1 AS BIGINT) AS age_days
  UNION ALL
  SELECT CAST(2 AS BIGINT) AS age_days
  UNION ALL
  SELECT CAST(3 AS BIGINT) AS age_days
  UNION ALL
  SELECT CAST(4 AS BIGINT) AS age_days
  UNION ALL
  SELECT CAST(5 AS BIGINT) AS age_days
  UNION ALL
  SELECT CAST(6 AS BIGINT) AS age_days
),
usable AS (
  SELECT
    r.currency,
    CAST(r.day + a.age_days * INTERVAL '1 day' AS DATE) AS day,
    r.day AS quoted_on
  FROM silver.marketing.exchange_rates AS r
  CROSS JOIN ages AS a
),
newest AS (
  SELECT
    u.currency,
    u.day,
    MAX(u.quoted_on) AS quoted_on
  FROM usable AS u
  GROUP BY u.currency, u.day
)
SELECT
  n.currency,
  n.day,
  n.quoted_on,
  r.euros_per_unit
FROM newest AS n
INNER JOIN silver.marketing.exchange_rates AS r ON n.currency = r.currency AND n.quoted_on = r.day
