WITH recent AS (
  SELECT
    d.channel,
    CAST(EXTRACT(ISODOW FROM d.day) AS INTEGER) AS weekday,
    CAST(EXTRACT(MONTH FROM d.day) AS INTEGER) AS month,
    d.day,
    d.conversions,
    d.new_customers,
    d.spend_eur
  FROM gold.marketing.daily_channels AS d
  CROSS JOIN gold.marketing.clock AS c
  WHERE d.day > CAST(c.as_of - INTERVAL '730 days' AS DATE)
),
parts AS (
  SELECT r.channel, 'weekday' AS period, r.weekday AS part, r.day, r.conversions, r.new_customers, r.spend_eur
  FROM recent AS r
  UNION ALL
  SELECT r.channel, 'month' AS period, r.month AS part, r.day, r.conversions, r.new_customers, r.spend_eur
  FROM recent AS r
),
whole AS (
  SELECT
    r.channel,
    CAST(COUNT(r.day) AS DOUBLE) AS days,
    CAST(SUM(r.conversions) AS DOUBLE) AS conversions,
    CAST(SUM(r.new_customers) AS DOUBLE) AS new_customers,
    CAST(SUM(r.spend_eur) AS DOUBLE) AS spend
  FROM recent AS r
  GROUP BY r.channel
),
counted AS (
  SELECT
    p.channel,
    p.period,
    p.part,
    CAST(COUNT(p.day) AS BIGINT) AS days,
    CAST(SUM(p.conversions) AS DOUBLE) AS conversions,
    CAST(SUM(p.new_customers) AS DOUBLE) AS new_customers,
    CAST(SUM(p.spend_eur) AS DOUBLE) AS spend
  FROM parts AS p
  GROUP BY p.channel, p.period, p.part
)
SELECT
  n.channel,
  n.period,
  n.part,
  n.days,
  ROUND((n.conversions / n.days) / NULLIF(w.conversions / w.days, 0), 4) AS conversions_index,
  ROUND((n.new_customers / n.days) / NULLIF(w.new_customers / w.days, 0), 4) AS new_customers_index,
  ROUND((n.spend / n.days) / NULLIF(w.spend / w.days, 0), 4) AS spend_index
FROM counted AS n
INNER JOIN whole AS w ON n.channel = w.channel
