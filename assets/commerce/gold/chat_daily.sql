SELECT
  m.room_id,
  CAST(m.sent_at AS DATE) AS day,
  CAST(COUNT(m.message_time) AS BIGINT) AS messages,
  CAST(COUNT(DISTINCT m.user_id) AS BIGINT) AS people,
  MIN(m.sent_at) AS first_sent_at,
  MAX(m.sent_at) AS last_sent_at
FROM silver.commerce.chat_messages AS m
GROUP BY m.room_id, CAST(m.sent_at AS DATE)
