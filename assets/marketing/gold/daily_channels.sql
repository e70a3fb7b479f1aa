WITH days AS (
  SELECT
    p.channel,
    p.day,
    CAST(COUNT(p.campaign_id) AS BIGINT) AS campaigns,
    CAST(SUM(p.impressions) AS BIGINT) AS impressions,
    CAST(SUM(p.clicks) AS BIGINT) AS clicks,
    CAST(SUM(p.conversions) AS BIGINT) AS conversions,
    CAST(SUM(p.new_customers) AS BIGINT) AS new_customers,
    CAST(SUM(COALESCE(p.spend_eur, 0)) AS DECIMAL(18, 2)) AS spend_eur,
    CAST(SUM(COALESCE(p.revenue_eur, 0)) AS DECIMAL(18, 2)) AS revenue_eur,
    CAST(COUNT(CASE WHEN p.euros_per_unit IS NULL THEN p.campaign_id END) AS BIGINT) AS rows_without_rate
  FROM gold.marketing.daily_performance AS p
  GROUP BY p.channel, p.day
)
SELECT
  d.channel,
  d.day,
  d.campaigns,
  d.impressions,
  d.clicks,
  d.conversions,
  d.new_customers,
  d.spend_eur,
  d.revenue_eur,
  d.rows_without_rate,
  CAST(d.revenue_eur - d.spend_eur AS DOUBLE) / CAST(NULLIF(d.spend_eur, 0) AS DOUBLE) AS roi
FROM days AS d
