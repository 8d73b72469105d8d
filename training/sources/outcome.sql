-- The outcome of every customer after the cut: the label, and the reason why a row is not a training row, if any.
--
--   $cut            DATE     the cut date of the snapshot
--   $decline        BOOLEAN  true: the outcome is a decline of spend; false: churn
--   $decline_share  DOUBLE   a decline is spend at least this share below the customer's own baseline
--
-- The statement reads `customers` (from standing.sql for the same cut), `lines` and `statuses`. The first day of the horizon
-- is the day of the cut. A basket that is returned completely within the horizon is not a purchase, nor is an order that a
-- credit note within the horizon cancels. `left_out` is NULL for
-- a training row. Otherwise, `left_out` is
--   the status    if the status of the customer is not SCORED
--   ENDED         if the relationship ended within the horizon (closed, blocked or moved), which is never churn
--   NO_BASELINE   if the customer has no spend in the last 90 days that could decline

WITH

ahead AS (
    SELECT market, customer_id, basket, amount
    FROM lines
    JOIN customers USING (market, customer_id)
    WHERE time >= CAST($cut AS DATE)
      AND CAST(time AS DATE) - CAST($cut AS DATE) < horizon_days
      AND NOT cancels
      AND (cancelled_time IS NULL OR CAST(cancelled_time AS DATE) - CAST($cut AS DATE) >= horizon_days)
),

cancelled AS (
    SELECT market, customer_id, basket
    FROM ahead
    WHERE basket IS NOT NULL
    GROUP BY market, customer_id, basket
    HAVING SUM(amount) <= 0 AND MIN(amount) < 0
),

bought AS (
    SELECT market, customer_id, CAST(SUM(amount) AS DOUBLE) AS spend
    FROM ahead
    ANTI JOIN cancelled USING (market, customer_id, basket)
    WHERE amount > 0
    GROUP BY market, customer_id
),

ended AS (
    SELECT DISTINCT customers.market, customers.customer_id
    FROM customers
    JOIN statuses ON statuses.customer_id = customers.customer_id
        AND COALESCE(statuses.market, customers.market) = customers.market
    WHERE statuses.status <> 'ACTIVE'
      AND since >= CAST($cut AS DATE)
      AND since - CAST($cut AS DATE) < horizon_days
)

SELECT
    customers.*,
    CASE
        WHEN $decline THEN COALESCE(spend, 0) * 90 <= (1 - $decline_share) * spend_90 * horizon_days
        ELSE spend IS NULL
    END::BIGINT AS label,
    CASE
        WHEN status <> 'SCORED' THEN status
        WHEN ended.customer_id IS NOT NULL THEN 'ENDED'
        WHEN $decline AND spend_90 <= 0 THEN 'NO_BASELINE'
    END AS left_out
FROM customers
LEFT JOIN bought USING (market, customer_id)
LEFT JOIN ended ON ended.market = customers.market AND ended.customer_id = customers.customer_id
ORDER BY market, customer_id
