-- What a customer of `found` (features as of the cut) is on that day, and how long the horizon is for him.
--
--   $cut                DATE     only rows of `statuses` with since < $cut are read
--   $horizon_days       INTEGER  the longest horizon
--   $horizon_gaps       DOUBLE   so many of the customer's median gaps are the horizon; NULL: the longest for all
--   $horizon_min_days   INTEGER  the shortest
--   $purchase_days_min  INTEGER  fewer purchase days are too little history
--   $tenure_days_min    INTEGER  a younger first purchase is too little history
--
-- A row of `statuses` without a market is of every market. Of a customer's rows the newest counts.

SELECT
    market,
    customer_id,
    CAST(COLUMNS(found.* EXCLUDE (market, customer_id)) AS DOUBLE),
    CASE
        WHEN COALESCE(standing.status, 'ACTIVE') <> 'ACTIVE' THEN standing.status
        WHEN purchase_days < $purchase_days_min OR tenure_days < $tenure_days_min THEN 'NOT_ENOUGH_HISTORY'
        ELSE 'SCORED'
    END AS status,
    CAST(CASE
        WHEN $horizon_gaps IS NULL OR gap_median_days IS NULL THEN $horizon_days
        ELSE LEAST($horizon_days, GREATEST($horizon_min_days, CEIL($horizon_gaps * gap_median_days)))
    END AS INTEGER) AS horizon_days
FROM found
LEFT JOIN (
    SELECT found.market, found.customer_id, ARG_MAX(statuses.status, statuses.since) AS status
    FROM found
    JOIN statuses ON statuses.customer_id = found.customer_id
        AND COALESCE(statuses.market, found.market) = found.market
    WHERE statuses.since < CAST($cut AS DATE)
    GROUP BY found.market, found.customer_id
) AS standing USING (market, customer_id)
