WITH names AS (
  SELECT
    LOWER(TRIM(n.alias)) AS alias,
    MIN(n.channel) AS channel
  FROM silver.marketing.channel_names AS n
  GROUP BY LOWER(TRIM(n.alias))
),
written AS (
  SELECT
    c.campaign_id,
    c.name AS campaign_name,
    c.channel AS channel_sent,
    LOWER(TRIM(c.channel)) AS alias,
    c.objective,
    c.status,
    c.currency,
    c.budget,
    c.starts_on,
    c.ends_on
  FROM silver.marketing.campaigns AS c
)
SELECT
  w.campaign_id,
  w.campaign_name,
  COALESCE(n.channel, 'other') AS channel,
  w.channel_sent,
  w.objective,
  w.status,
  w.currency,
  w.budget,
  w.starts_on,
  w.ends_on
FROM written AS w
LEFT JOIN names AS n ON w.alias = n.alias
