WITH told AS (
  SELECT
    p.campaign_id,
    CAST(COUNT(p.day) AS BIGINT) AS days,
    MIN(p.day) AS first_day,
    MAX(p.day) AS last_day,
    CAST(SUM(p.impressions) AS BIGINT) AS impressions,
    CAST(SUM(p.clicks) AS BIGINT) AS clicks,
    CAST(SUM(p.conversions) AS BIGINT) AS conversions,
    CAST(SUM(p.new_customers) AS BIGINT) AS new_customers,
    CAST(SUM(COALESCE(p.spend_eur, 0)) AS DECIMAL(18, 2)) AS spend_eur,
    CAST(SUM(COALESCE(p.revenue_eur, 0)) AS DECIMAL(18, 2)) AS revenue_eur,
    CAST(SUM(CASE WHEN p.euros_per_unit IS NULL THEN 0 ELSE p.new_customers END) AS BIGINT) AS priced_customers,
    CAST(COUNT(CASE WHEN p.euros_per_unit IS NULL THEN p.day END) AS BIGINT) AS days_without_rate
  FROM gold.marketing.daily_performance AS p
  GROUP BY p.campaign_id
),
charged AS (
  SELECT
    d.campaign_id,
    CAST(SUM(d.spend) AS DECIMAL(18, 2)) AS spend,
    MIN(d.currency) AS first_currency,
    MAX(d.currency) AS last_currency
  FROM silver.marketing.campaign_days AS d
  GROUP BY d.campaign_id
)
SELECT
  c.campaign_id,
  c.campaign_name,
  c.channel,
  c.status,
  COALESCE(t.days, 0) AS days,
  t.first_day,
  t.last_day,
  COALESCE(t.impressions, 0) AS impressions,
  COALESCE(t.clicks, 0) AS clicks,
  COALESCE(t.conversions, 0) AS conversions,
  COALESCE(t.new_customers, 0) AS new_customers,
  COALESCE(t.spend_eur, CAST(0 AS DECIMAL(18, 2))) AS spend_eur,
  COALESCE(t.revenue_eur, CAST(0 AS DECIMAL(18, 2))) AS revenue_eur,
  COALESCE(t.days_without_rate, 0) AS days_without_rate,
  CASE
    WHEN h.first_currency = c.currency AND h.last_currency = c.currency
      THEN 100 * CAST(h.spend AS DOUBLE) / CAST(NULLIF(c.budget, 0) AS DOUBLE)
  END AS budget_used_percent,
  CAST(t.clicks AS DOUBLE) / CAST(NULLIF(t.impressions, 0) AS DOUBLE) AS click_rate,
  CAST(t.conversions AS DOUBLE) / CAST(NULLIF(t.clicks, 0) AS DOUBLE) AS conversion_rate,
  CAST(t.spend_eur AS DOUBLE) / CAST(NULLIF(t.priced_customers, 0) AS DOUBLE) AS cost_per_new_customer_eur,
  CAST(t.revenue_eur - t.spend_eur AS DOUBLE) / CAST(NULLIF(t.spend_eur, 0) AS DOUBLE) AS roi
FROM gold.marketing.campaigns AS c
LEFT JOIN told AS t ON c.campaign_id = t.campaign_id
LEFT JOIN charged AS h ON c.campaign_id = h.campaign_id
