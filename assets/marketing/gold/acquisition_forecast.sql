SELECT
  d.channel,
  d.day,
  CAST(d.new_customers AS DOUBLE) AS new_customers
FROM gold.marketing.daily_channels AS d
