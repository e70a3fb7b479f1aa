WITH days AS (
  SELECT DISTINCT CAST(o.created_at AS DATE) AS day
  FROM history.commerce.orders AS o
  WHERE o.verdict = 'kept'
),
parts AS (
  SELECT
    d.day,
    CAST(EXTRACT(YEAR FROM d.day) AS INTEGER) AS year,
    CAST(EXTRACT(QUARTER FROM d.day) AS INTEGER) AS quarter,
    CAST(EXTRACT(MONTH FROM d.day) AS INTEGER) AS month,
    CAST(EXTRACT(DAY FROM d.day) AS INTEGER) AS day_of_month,
    CAST(EXTRACT(WEEK FROM d.day) AS INTEGER) AS iso_week,
    CAST(EXTRACT(ISODOW FROM d.day) AS INTEGER) AS weekday
  FROM days AS d
)
SELECT
  p.year * 10000 + p.month * 100 + p.day_of_month AS date_key,
  p.day AS date,
  p.year,
  p.quarter,
  p.month,
  p.day_of_month AS day,
  p.iso_week,
  p.weekday,
  p.weekday >= 6 AS is_weekend
FROM parts AS p
