-- The status of every customer of `snapshot_features` at the cut, and the length of the customer's horizon.
--
--   $cut                DATE     the cut date. Only rows of `statuses` with since < $cut are read, because a later status
--                                is not known yet at the cut.
--   $horizon_days       INTEGER  the longest horizon in days
--   $horizon_gaps       DOUBLE   the horizon in median gaps of the customer; NULL for the longest horizon for all customers
--   $horizon_min_days   INTEGER  the shortest horizon in days
--   $purchase_days_min  INTEGER  with fewer purchase days, the status is NOT_ENOUGH_HISTORY
--   $tenure_days_min    INTEGER  with a more recent first purchase, the status is NOT_ENOUGH_HISTORY
--
-- A row of `statuses` without a market applies in every market. If a customer has several rows, the newest one applies.

SELECT
    market,
    customer_id,
    CAST(COLUMNS(snapshot_features.* EXCLUDE (market, customer_id)) AS DOUBLE),
    CASE
        WHEN COALESCE(standing.status, 'ACTIVE') <> 'ACTIVE' THEN standing.status
        WHEN purchase_days < $purchase_days_min OR tenure_days < $tenure_days_min THEN 'NOT_ENOUGH_HISTORY'
        ELSE 'SCORED'
    END AS status,
    CAST(CASE
        WHEN $horizon_gaps IS NULL OR gap_median_days IS NULL THEN $horizon_days
        ELSE LEAST($horizon_days, GREATEST($horizon_min_days, CEIL($horizon_gaps * gap_median_days)))
    END AS INTEGER) AS horizon_days
FROM snapshot_features
LEFT JOIN (
    SELECT snapshot_features.market, snapshot_features.customer_id, ARG_MAX(statuses.status, statuses.since) AS status
    FROM snapshot_features
    JOIN statuses ON statuses.customer_id = snapshot_features.customer_id
        AND COALESCE(statuses.market, snapshot_features.market) = snapshot_features.market
    WHERE statuses.since < CAST($cut AS DATE)
    GROUP BY snapshot_features.market, snapshot_features.customer_id
) AS standing USING (market, customer_id)
