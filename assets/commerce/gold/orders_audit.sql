WITH written AS (
  -- The whole row as JSON, with | for its quotation marks: what needs escaping in the texts is then escaped for all at once.
  SELECT
    h.order_id,
    h.source_epoch,
    h.source_commit,
    h.source_event,
    h.source_offset,
    h.verdict,
    h.valid_from,
    h.updated_by,
    CONCAT(
      '{|order_id|:', COALESCE('|' || h.order_id || '|', 'null'),
      ',|customer_id|:', COALESCE('|' || h.customer_id || '|', 'null'),
      ',|status|:', COALESCE('|' || h.status || '|', 'null'),
      ',|total_amount|:', COALESCE(CAST(h.total_amount AS VARCHAR), 'null'),
      ',|discount_amount|:', COALESCE(CAST(h.discount_amount AS VARCHAR), 'null'),
      ',|tax_amount|:', COALESCE(CAST(h.tax_amount AS VARCHAR), 'null'),
      ',|shipping_amount|:', COALESCE(CAST(h.shipping_amount AS VARCHAR), 'null'),
      ',|currency|:', COALESCE('|' || h.currency || '|', 'null'),
      ',|note|:', COALESCE('|' || REPLACE(REPLACE(h.note, '\', '\\'), '|', '\u007c') || '|', 'null'),
      ',|created_at|:', COALESCE('|' || STRFTIME(h.created_at, '%Y-%m-%dT%H:%M:%S.%6fZ') || '|', 'null'),
      ',|created_by|:', COALESCE('|' || REPLACE(REPLACE(h.created_by, '\', '\\'), '|', '\u007c') || '|', 'null'),
      ',|updated_at|:', COALESCE('|' || STRFTIME(h.updated_at, '%Y-%m-%dT%H:%M:%S.%6fZ') || '|', 'null'),
      ',|updated_by|:', COALESCE('|' || REPLACE(REPLACE(h.updated_by, '\', '\\'), '|', '\u007c') || '|', 'null'),
      ',|version|:', COALESCE(CAST(h.version AS VARCHAR), 'null'),
      ',|deleted_at|:', COALESCE('|' || STRFTIME(h.deleted_at, '%Y-%m-%dT%H:%M:%S.%6fZ') || '|', 'null'),
      ',|deleted_by|:', COALESCE('|' || REPLACE(REPLACE(h.deleted_by, '\', '\\'), '|', '\u007c') || '|', 'null'),
      '}'
    ) AS told
  FROM history.commerce.orders AS h
  WHERE h.verdict IN ('kept', 'deleted')
),
controls AS (
  SELECT
    w.order_id,
    w.source_epoch,
    w.source_commit,
    w.source_event,
    w.source_offset,
    w.verdict,
    w.valid_from,
    w.updated_by,
    REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(REPLACE(w.told, '"', '\"'), '\x01', '\u0001', 'g'), '\x02', '\u0002', 'g'), '\x03', '\u0003', 'g'), '\x04', '\u0004', 'g'), '\x05', '\u0005', 'g'), '\x06', '\u0006', 'g'), '\x07', '\u0007', 'g'), '\x08', '\u0008', 'g') AS told
  FROM written AS w
),
further AS (
  SELECT
    c.order_id,
    c.source_epoch,
    c.source_commit,
    c.source_event,
    c.source_offset,
    c.verdict,
    c.valid_from,
    c.updated_by,
    REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(c.told, '\x09', '\u0009', 'g'), '\x0a', '\u000a', 'g'), '\x0b', '\u000b', 'g'), '\x0c', '\u000c', 'g'), '\x0d', '\u000d', 'g'), '\x0e', '\u000e', 'g'), '\x0f', '\u000f', 'g'), '\x10', '\u0010', 'g') AS told
  FROM controls AS c
),
rest AS (
  SELECT
    f.order_id,
    f.source_epoch,
    f.source_commit,
    f.source_event,
    f.source_offset,
    f.verdict,
    f.valid_from,
    f.updated_by,
    REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(f.told, '\x11', '\u0011', 'g'), '\x12', '\u0012', 'g'), '\x13', '\u0013', 'g'), '\x14', '\u0014', 'g'), '\x15', '\u0015', 'g'), '\x16', '\u0016', 'g'), '\x17', '\u0017', 'g'), '\x18', '\u0018', 'g') AS told
  FROM further AS f
),
escaped AS (
  SELECT
    r.order_id,
    r.source_epoch,
    r.source_commit,
    r.source_event,
    r.source_offset,
    r.verdict,
    r.valid_from,
    r.updated_by,
    REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(r.told, '\x19', '\u0019', 'g'), '\x1a', '\u001a', 'g'), '\x1b', '\u001b', 'g'), '\x1c', '\u001c', 'g'), '\x1d', '\u001d', 'g'), '\x1e', '\u001e', 'g'), '\x1f', '\u001f', 'g'), '|', '"') AS told
  FROM rest AS r
),
changes AS (
  SELECT
    e.order_id,
    e.source_epoch AS version_epoch,
    e.source_commit AS correlation_id,
    e.source_event AS version,
    e.verdict = 'deleted' AS is_delete,
    e.valid_from AS operation_timestamp,
    e.updated_by AS operation_user,
    CASE WHEN e.verdict = 'kept' THEN e.told END AS new_values,
    LAG(CASE WHEN e.verdict = 'kept' THEN e.told END) OVER (PARTITION BY e.order_id ORDER BY e.source_epoch, e.source_commit, e.source_event, e.source_offset) AS old_values
  FROM escaped AS e
)
SELECT
  c.order_id,
  CASE WHEN c.is_delete THEN 'DELETE' WHEN c.old_values IS NULL THEN 'INSERT' ELSE 'UPDATE' END AS operation_type,
  c.operation_timestamp,
  CASE WHEN NOT c.is_delete THEN c.operation_user END AS operation_user,
  c.old_values,
  c.new_values,
  c.correlation_id,
  c.version_epoch,
  c.version
FROM changes AS c
WHERE (c.is_delete OR c.correlation_id > 0) AND (c.old_values IS DISTINCT FROM c.new_values)
