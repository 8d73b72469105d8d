-- Churn features: one row for each (market, customer_id) with a purchase in the $active_days days before $cut.
--
--   $cut          DATE     the cut date of the snapshot. Only lines with time < $cut (midnight at its start) are read.
--   $active_days  INTEGER  a customer is in scope if a purchase has an age of 1 .. $active_days days.
--   $minor_units  INTEGER  number of minor units of one unit of money: 100, or 1000 for a currency with three decimals.
--   $horizon_days INTEGER  number of days after the cut over which the label is determined.
--
-- Terms    purchase      a line with amount > 0 (free lines are ignored everywhere), unless its basket was cancelled
--          cancelled line  an order that a credit note before the cut cancels, and the credit note (cancellations.py). They
--                        are ignored everywhere, as if neither had happened, except in the net spend
--          remainder     the amount of a cancelled order less its credit note; 0 if both amounts are equal
--          return        a line with amount < 0. A return is not a purchase, and does not change purchases of earlier days
--          cancelled     a basket with a return whose lines before the cut sum to 0 or less; none of its lines is a purchase
--          purchase day  a calendar day with at least one purchase
--          age           whole days from a calendar day to the cut; the day before the cut has age 1
--          gap           whole days from one purchase day to the next, over the whole history
--          _30, _90 ...  suffixes of figures over the purchases with an age of 1 .. 30, 1 .. 90 ... days
--
-- Exactness  Money is summed as DECIMAL, days and counts as integers; a DOUBLE appears only in the last step of a row.
--            Window functions order by a key that is unique in its partition. The result is therefore bit-identical
--            for any number of threads and any order of the lines.

WITH

-- Every line before the cut, with its age. Only this query and the next one read `lines`, and only before the cut, so no
-- feature can depend on a later line. An order that is cancelled later still counts.
known AS (
    SELECT
        market,
        customer_id,
        CAST($cut AS DATE) - CAST(time AS DATE) AS age,
        amount,
        discount,
        basket,
        product,
        category
    FROM lines
    WHERE time < CAST($cut AS DATE)
      AND NOT cancels
      AND (cancelled_time IS NULL OR cancelled_time >= CAST($cut AS DATE))
),

-- What remains of each cancelled order, on the day of the order.
remainder AS (
    SELECT market, customer_id, CAST($cut AS DATE) - CAST(time AS DATE) AS age, remaining AS amount
    FROM lines
    WHERE cancelled_time < CAST($cut AS DATE) AND remaining <> 0
),

cancelled AS (
    SELECT market, customer_id, basket
    FROM known
    SEMI JOIN (SELECT market, customer_id, basket FROM known WHERE amount < 0) USING (market, customer_id, basket)
    GROUP BY market, customer_id, basket
    HAVING SUM(amount) <= 0
),

purchase AS (
    SELECT *
    FROM known
    ANTI JOIN cancelled USING (market, customer_id, basket)
    WHERE amount > 0
),

-- The customers in scope, with the days since their first and since their last purchase.
customer AS (
    SELECT
        market,
        customer_id,
        MIN(age) AS recency,
        MAX(age) AS tenure
    FROM purchase
    GROUP BY market, customer_id
    HAVING MIN(age) <= $active_days
),

-- One row per purchase day.
purchase_day AS (
    SELECT
        market,
        customer_id,
        age,
        SUM(amount)            AS spend,
        COUNT(DISTINCT basket) AS baskets
    FROM purchase
    SEMI JOIN customer USING (market, customer_id)
    GROUP BY market, customer_id, age
),

-- Each purchase day with the age of the one before it; newest = 1 for the last purchase day.
-- An age occurs once per customer, so both windows have a total order.
gap_day AS (
    SELECT
        *,
        LAG(age) OVER (PARTITION BY market, customer_id ORDER BY age DESC)  AS previous_age,
        ROW_NUMBER() OVER (PARTITION BY market, customer_id ORDER BY age)   AS newest
    FROM purchase_day
),

-- Counts of purchase days and baskets, and spend, by window.
frequency AS (
    SELECT
        market,
        customer_id,
        COUNT(*)                                                  AS days,
        COUNT(*) FILTER (age <= 14)                               AS days_14,
        COUNT(*) FILTER (age <= 30)                               AS days_30,
        COUNT(*) FILTER (age BETWEEN 31 AND 60)                   AS days_31_60,
        COUNT(*) FILTER (age <= 60)                               AS days_60,
        COUNT(*) FILTER (age <= 90)                               AS days_90,
        COUNT(*) FILTER (age BETWEEN 91 AND 180)                  AS days_91_180,
        COUNT(*) FILTER (age <= 180)                              AS days_180,
        COUNT(*) FILTER (age <= 365)                              AS days_365,
        COALESCE(SUM(181 - age) FILTER (age <= 180), 0)           AS day_weight_180,
        COUNT(DISTINCT (age - 1) // 7) FILTER (age <= 91)         AS weeks_13,
        COALESCE(SUM(baskets) FILTER (age <= 30), 0)              AS baskets_30,
        COALESCE(SUM(baskets) FILTER (age <= 90), 0)              AS baskets_90,
        COALESCE(SUM(spend) FILTER (age <= 30), 0)                AS spend_30,
        COALESCE(SUM(spend) FILTER (age BETWEEN 31 AND 60), 0)    AS spend_31_60,
        COALESCE(SUM(spend) FILTER (age <= 90), 0)                AS spend_90,
        COALESCE(SUM(spend) FILTER (age BETWEEN 91 AND 180), 0)   AS spend_91_180,
        COALESCE(SUM(spend) FILTER (age <= 365), 0)               AS spend_365,
        SUM(spend)                                                AS spend_total,
        -- A year ago: the same 30 days, and the 30 days that correspond to the 30 days after the cut.
        COUNT(*) FILTER (age BETWEEN 366 AND 395)                 AS days_season,
        COUNT(*) FILTER (age BETWEEN 336 AND 365)                 AS days_season_ahead,
        COALESCE(SUM(spend) FILTER (age BETWEEN 366 AND 395), 0)  AS spend_season
    FROM purchase_day
    GROUP BY market, customer_id
),

-- Statistics of the gaps. Customers with one purchase day have no gap and no row here.
rhythm AS (
    SELECT
        market,
        customer_id,
        COUNT(*)                                                AS gaps,
        SUM(gap)                                                AS gap_sum,
        SUM(gap * gap)                                          AS gap_square_sum,
        QUANTILE_CONT(gap, 0.50)                                AS gap_median,
        QUANTILE_CONT(gap, 0.95)                                AS gap_p95,
        COUNT(*) FILTER (newest <= 6)                           AS gaps_last_6,
        SUM(gap) FILTER (newest <= 6)                           AS gap_sum_last_6,
        COUNT(*) FILTER (gap > recency)                         AS gaps_as_long,
        COUNT(*) FILTER (gap > recency + $horizon_days)         AS gaps_outlasting,
        SUM(GREATEST(gap - $horizon_days, 0))                   AS silent_starts
    FROM (SELECT *, previous_age - age AS gap FROM gap_day WHERE previous_age IS NOT NULL)
    JOIN customer USING (market, customer_id)
    GROUP BY market, customer_id
),

-- Lines, products and discounts of the last 90 days.
content AS (
    SELECT
        market,
        customer_id,
        COUNT(*)                                   AS lines_90,
        COUNT(DISTINCT product)                    AS products_90,
        COUNT(DISTINCT product) FILTER (age <= 30) AS products_30,
        SUM(amount)                                AS amount_90,
        SUM(discount)                              AS discount_90
    FROM purchase
    WHERE age <= 90
    GROUP BY market, customer_id
),

-- Spend by category in the last 45 days, and in the 45 days before them. Minor units (cents) are integers, so the sums are exact.
category_spend AS (
    SELECT
        market,
        customer_id,
        category,
        MIN(age)                                                                   AS youngest,
        MAX(age)                                                                   AS oldest,
        CAST($minor_units * SUM(amount) AS HUGEINT)                                         AS cents_90,
        CAST($minor_units * COALESCE(SUM(amount) FILTER (age <= 45), 0) AS HUGEINT)         AS cents_45,
        CAST($minor_units * COALESCE(SUM(amount) FILTER (age > 45), 0) AS HUGEINT)          AS cents_46_90
    FROM purchase
    WHERE age <= 90 AND category IS NOT NULL
    GROUP BY market, customer_id, category
),

category_total AS (
    SELECT
        market,
        customer_id,
        SUM(cents_90)    AS total_90,
        SUM(cents_45)    AS total_45,
        SUM(cents_46_90) AS total_46_90
    FROM category_spend
    GROUP BY market, customer_id
),

-- The shift is half of sum(|share now - share before|). Both shares have a common denominator, so all terms are integers
-- and only the final division rounds.
assortment AS (
    SELECT
        market,
        customer_id,
        COUNT(*)                                         AS categories_90,
        COUNT(*) FILTER (youngest <= 30)                 AS categories_30,
        COUNT(*) FILTER (youngest <= 45 AND oldest > 45) AS categories_kept,
        MAX(cents_90)                                    AS top_cents,
        ANY_VALUE(total_90)                              AS total_90,
        SUM(ABS(cents_45 * total_46_90 - cents_46_90 * total_45)) AS shifted,
        ANY_VALUE(2 * total_45 * total_46_90)            AS shift_whole
    FROM category_spend
    JOIN category_total USING (market, customer_id)
    GROUP BY market, customer_id
),

-- Purchases minus returns, by the day on which they were booked, and remainders. Over the whole history, this is the sum of all
-- lines before the cut.
net AS (
    SELECT
        market,
        customer_id,
        COALESCE(SUM(amount) FILTER (age <= 30), 0)  AS net_spend_30,
        COALESCE(SUM(amount) FILTER (age <= 90), 0)  AS net_spend_90,
        COALESCE(SUM(amount) FILTER (age <= 180), 0) AS net_spend_180,
        COALESCE(SUM(amount) FILTER (age <= 365), 0) AS net_spend_365,
        SUM(amount)                                  AS net_spend_total
    FROM (SELECT market, customer_id, age, amount FROM known UNION ALL SELECT * FROM remainder)
    GROUP BY market, customer_id
),

-- Returns of the last 90 days, by the day on which they were booked.
returned AS (
    SELECT market, customer_id, -SUM(amount) AS returned_90, COUNT(*) AS returns_90
    FROM known
    WHERE age <= 90 AND amount < 0
    GROUP BY market, customer_id
)

SELECT
    market,
    customer_id,

    -- RECENCY
    recency                                              AS recency_days,                -- days since the last purchase day; never NULL
    recency / gap_median                                 AS recency_over_gap_median,     -- ratio to the customer's median gap; NULL under 2 purchase days
    recency / gap_p95                                    AS recency_over_gap_p95,        -- ratio to the customer's 95th percentile gap; NULL under 2 purchase days
    (recency * gaps)::DOUBLE / gap_sum::DOUBLE           AS recency_over_gap_mean,       -- ratio to the customer's mean gap; NULL under 2 purchase days
    (5 * COALESCE(gaps_outlasting, 0) + 1)::DOUBLE
        / (5 * COALESCE(gaps_as_long, 0) + 5)::DOUBLE    AS own_silence_risk,            -- share of the customer's past gaps longer than recency that also outlasted the horizon; one more gap of 0.2 is added as a prior; never NULL

    (COALESCE(silent_starts, 0) + GREATEST(recency - $horizon_days, 0))::DOUBLE
        / GREATEST(tenure - $horizon_days, 1)::DOUBLE    AS own_silent_share,            -- share of the past days that were followed by a whole horizon without a purchase; never NULL

    -- FREQUENCY
    days                                                 AS purchase_days,               -- days, whole history; never NULL
    days_14                                              AS purchase_days_14,            -- days; never NULL
    days_30                                              AS purchase_days_30,            -- days; never NULL
    days_60                                              AS purchase_days_60,            -- days; never NULL
    days_90                                              AS purchase_days_90,            -- days; never NULL
    days_365                                             AS purchase_days_365,           -- days; never NULL
    days_180 * 30.0::DOUBLE
        / LEAST(GREATEST(tenure, 90), 180)::DOUBLE       AS purchase_days_per_month_180, -- purchase days per 30 days of known history, limited to 90 .. 180 days; never NULL
    day_weight_180::DOUBLE / 180.0::DOUBLE               AS purchase_days_faded_180,     -- purchase days, with weights that fall linearly from 1 (yesterday) to 0 (181 days ago); never NULL
    weeks_13                                             AS active_weeks_13,             -- 7-day blocks with a purchase among the last 13; never NULL
    baskets_30::BIGINT                                   AS baskets_30,                  -- baskets; never NULL
    baskets_90::BIGINT                                   AS baskets_90,                  -- baskets; never NULL

    -- SPEND
    spend_30::DOUBLE                                     AS spend_30,                    -- money; never NULL
    spend_90::DOUBLE                                     AS spend_90,                    -- money; never NULL
    spend_365::DOUBLE                                    AS spend_365,                   -- money; never NULL
    spend_total::DOUBLE                                  AS spend_total,                 -- money, whole history; never NULL
    net_spend_30::DOUBLE                                 AS net_spend_30,                -- money, purchases minus returns; never NULL
    net_spend_90::DOUBLE                                 AS net_spend_90,                -- money, purchases minus returns; never NULL
    net_spend_180::DOUBLE                                AS net_spend_180,               -- money, purchases minus returns; never NULL
    net_spend_365::DOUBLE                                AS net_spend_365,               -- money, purchases minus returns; never NULL
    net_spend_total::DOUBLE                              AS net_spend_total,             -- money, purchases minus returns, whole history; never NULL
    spend_90::DOUBLE / NULLIF(baskets_90, 0)::DOUBLE     AS spend_per_basket_90,         -- money per basket; NULL without a basket in 90 days

    -- TREND: (now - before) / (now + before), from -1 (stopped) to 1 (new)
    CASE WHEN tenure > 60 THEN (days_30 - days_31_60)::DOUBLE
        / NULLIF(days_30 + days_31_60, 0)::DOUBLE END    AS purchase_days_trend_30,      -- purchase days, last 30 days to the 30 before; NULL when tenure <= 60 days or both are 0
    CASE WHEN tenure > 180 THEN (days_90 - days_91_180)::DOUBLE
        / NULLIF(days_90 + days_91_180, 0)::DOUBLE END   AS purchase_days_trend_90,      -- purchase days, last 90 days to the 90 before; NULL when tenure <= 180 days or both are 0
    CASE WHEN tenure > 60 THEN (spend_30 - spend_31_60)::DOUBLE
        / NULLIF(spend_30 + spend_31_60, 0)::DOUBLE END  AS spend_trend_30,              -- spend, last 30 days to the 30 before; NULL when tenure <= 60 days or both are 0
    CASE WHEN tenure > 180 THEN (spend_90 - spend_91_180)::DOUBLE
        / NULLIF(spend_90 + spend_91_180, 0)::DOUBLE END AS spend_trend_90,              -- spend, last 90 days to the 90 before; NULL when tenure <= 180 days or both are 0
    (gap_sum_last_6 * gaps)::DOUBLE
        / (gap_sum * gaps_last_6)::DOUBLE                AS gap_trend,                   -- ratio: mean of the last 5 or 6 gaps to the mean of all gaps; NULL under 2 purchase days

    -- SEASON: against the same days of the year before
    CASE WHEN tenure > 395 THEN (days_30 - days_season)::DOUBLE
        / NULLIF(days_30 + days_season, 0)::DOUBLE END   AS purchase_days_season_30,     -- purchase days, last 30 days to the same 30 a year ago, from -1 to 1; NULL when tenure <= 395 days or both are 0
    CASE WHEN tenure > 395 THEN (spend_30 - spend_season)::DOUBLE
        / NULLIF(spend_30 + spend_season, 0)::DOUBLE END AS spend_season_30,             -- spend, last 30 days to the same 30 a year ago; NULL when tenure <= 395 days or both are 0
    CASE WHEN tenure > 365 THEN days_season_ahead END    AS season_ahead_days_30,        -- purchase days a year ago in the 30 days that correspond to those after the cut; NULL when tenure <= 365 days

    -- REGULARITY
    gap_median                                           AS gap_median_days,             -- days; NULL under 2 purchase days
    gap_p95                                              AS gap_p95_days,                -- days, 95th percentile; NULL under 2 purchase days
    gap_sum_last_6::DOUBLE / gaps_last_6::DOUBLE         AS gap_mean_last_6_days,        -- days, mean of the last 6 gaps (or fewer); NULL under 2 purchase days
    CASE WHEN gaps > 1 THEN
        SQRT((gaps * gap_square_sum - gap_sum * gap_sum)::DOUBLE)
        / gap_sum::DOUBLE END                            AS gap_cv,                      -- ratio: standard deviation of the gaps to their mean; NULL under 3 purchase days

    -- BREADTH
    COALESCE(products_30, 0)                             AS products_30,                 -- distinct products; never NULL
    COALESCE(products_90, 0)                             AS products_90,                 -- distinct products; never NULL
    COALESCE(categories_30, 0)                           AS categories_30,               -- distinct categories; never NULL
    COALESCE(categories_90, 0)                           AS categories_90,               -- distinct categories; never NULL
    categories_kept::DOUBLE / categories_90::DOUBLE      AS category_overlap_45,         -- share of the categories of 90 days bought in both 45-day halves; NULL without a category in 90 days
    top_cents::DOUBLE / total_90::DOUBLE                 AS top_category_share_90,       -- share of the largest category in the spend of 90 days; NULL without a category in 90 days
    shifted::DOUBLE / NULLIF(shift_whole, 0)::DOUBLE     AS category_shift_45,           -- share of the spend that moved to other categories, last 45 days against the 45 before; NULL without categories in one of them
    lines_90::DOUBLE / NULLIF(baskets_90, 0)::DOUBLE     AS lines_per_basket_90,         -- lines per basket; NULL without a basket in 90 days

    -- TENURE
    tenure                                               AS tenure_days,                 -- days since the first known purchase; never NULL

    -- DISCOUNT
    discount_90::DOUBLE
        / NULLIF(amount_90 + discount_90, 0)::DOUBLE     AS discount_share_90,           -- share of the price before discount; NULL without a purchase in 90 days or when no discount is known

    -- RETURNS
    COALESCE(returned_90, 0)::DOUBLE
        / NULLIF(amount_90, 0)::DOUBLE                   AS returned_share_90,           -- money returned against money spent in 90 days; NULL without a purchase in 90 days
    COALESCE(returns_90, 0)                              AS returns_90                   -- returned lines; never NULL

FROM customer
JOIN frequency       USING (market, customer_id)
JOIN net             USING (market, customer_id)
LEFT JOIN rhythm     USING (market, customer_id)
LEFT JOIN content    USING (market, customer_id)
LEFT JOIN assortment USING (market, customer_id)
LEFT JOIN returned   USING (market, customer_id)
