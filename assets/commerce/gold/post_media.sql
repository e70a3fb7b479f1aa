WITH shown AS (
  SELECT
    p.post_id,
    p.created_at,
    UNNEST(p.media) AS item
  FROM silver.commerce.posts AS p
),
items AS (
  SELECT
    s.post_id,
    s.created_at,
    item -> 'type' AS media_type,
    item -> 'url' AS url
  FROM shown AS s
)
SELECT
  i.post_id,
  i.url,
  MIN(i.media_type) AS media_type,
  CAST(COUNT(i.url) AS BIGINT) AS times_shown,
  MIN(i.created_at) AS posted_at
FROM items AS i
WHERE i.url IS NOT NULL
GROUP BY i.post_id, i.url
