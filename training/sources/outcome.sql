-- What the customers did after the cut: a training row for everyone whose outcome is known and a model may learn from.
--
--   $cut            DATE
--   $decline        BOOLEAN  the outcome is a decline of spend; else it is churn
--   $decline_share  DOUBLE   a decline is spend at least so far below the own baseline
--
-- Reads `customers` (standing.sql of the same cut), `lines` and `statuses`. A day of the horizon counts from 0; a
-- basket that was returned whole within the horizon is no purchase. `left_out` says why a row is no training row:
--   its status    it is not SCORED
--   ENDED         it was closed, blocked or moved within the horizon: never churn
--   NO_BASELINE   it spent nothing in the last 90 days, so nothing can decline

WITH

ahead AS (
    SELECT market, customer_id, basket, amount
    FROM lines
    JOIN customers USING (market, customer_id)
    WHERE time >= CAST($cut AS DATE)
      AND CAST(time AS DATE) - CAST($cut AS DATE) < horizon_days
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
