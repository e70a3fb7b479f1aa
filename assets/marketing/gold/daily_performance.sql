WITH told AS (
  SELECT
    d.campaign_id,
    d.day,
    c.channel,
    d.impressions,
    d.clicks,
    d.conversions,
    d.new_customers,
    d.currency,
    CASE WHEN d.currency = 'EUR' THEN CAST(1 AS DECIMAL(18, 8)) ELSE r.euros_per_unit END AS euros_per_unit,
    d.spend,
    d.revenue
  FROM silver.marketing.campaign_days AS d
  INNER JOIN gold.marketing.campaigns AS c ON d.campaign_id = c.campaign_id
  LEFT JOIN gold.marketing.daily_rates AS r ON d.currency = r.currency AND d.day = r.day
),
converted AS (
  SELECT
    t.campaign_id,
    t.day,
    t.channel,
    t.impressions,
    t.clicks,
    t.conversions,
    t.new_customers,
    t.currency,
    t.euros_per_unit,
    CAST(ROUND(CAST(t.spend AS DECIMAL(38, 10)) * CAST(t.euros_per_unit AS DECIMAL(38, 10)), 2) AS DECIMAL(14, 2)) AS spend_eur,
    CAST(ROUND(CAST(t.revenue AS DECIMAL(38, 10)) * CAST(t.euros_per_unit AS DECIMAL(38, 10)), 2) AS DECIMAL(14, 2)) AS revenue_eur
  FROM told AS t
)
SELECT
  c.campaign_id,
  c.day,
  c.channel,
  c.impressions,
  c.clicks,
  c.conversions,
  c.new_customers,
  c.currency,
  c.euros_per_unit,
  c.spend_eur,
  c.revenue_eur,
  CAST(c.revenue_eur - c.spend_eur AS DOUBLE) / CAST(NULLIF(c.spend_eur, 0) AS DOUBLE) AS roi
FROM converted AS c
