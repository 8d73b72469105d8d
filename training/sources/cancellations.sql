-- The orders that a credit note cancels: one row for each matched line of the table `valid_lines`.
--
--   $cancel_days  INTEGER  a credit note cancels an order only if the order is at most this number of days older
--   $part         INTEGER  the part of the customers
--
-- Terms  order        a line with amount > 0
--        credit note  a line with amount < 0. The sign of its quantity does not matter.
--        key          the customer with the product and the quantity. For lines without a product or a quantity, the customer
--                     with the day and the amount.
--
-- A credit note cancels the newest order with its key that is not cancelled yet, as closing brackets match opening brackets.
-- Whether a line is matched depends on earlier lines only, so a later line never changes the match of a credit note.
-- Bracket matching ignores $cancel_days: if the newest order is too old for a credit note, every other open order is older
-- still, and too old for every later credit note too.

WITH

keyed AS (
    SELECT
        rowid AS line,
        *,
        CASE
            WHEN product IS NOT NULL AND quantity IS NOT NULL THEN product
            ELSE CAST(CAST(time AS DATE) AS VARCHAR)
        END AS item,
        CASE WHEN product IS NOT NULL AND quantity IS NOT NULL THEN ABS(quantity) ELSE -1 END AS size,
        CASE WHEN product IS NOT NULL AND quantity IS NOT NULL THEN -1 ELSE ABS(amount) END AS money
    FROM valid_lines
    WHERE part = $part AND amount <> 0
),

-- Only keys with a credit note matter. Equal lines are interchangeable, so the order of rowid does not affect any result.
line_in_order AS (
    SELECT
        keyed.*,
        ROW_NUMBER() OVER (
            PARTITION BY market, customer_id, item, size, money
            ORDER BY time, amount < 0, amount, basket, category, discount, line
        ) AS place
    FROM keyed
    SEMI JOIN (SELECT * FROM keyed WHERE amount < 0) AS credit USING (market, customer_id, item, size, money)
),

-- A credit note of less than half of the newest order corrects a price, and cancels nothing.
cancelling AS (
    SELECT *
    FROM (
        SELECT
            *,
            LAST_VALUE(CASE WHEN amount > 0 THEN amount END IGNORE NULLS) OVER (
                PARTITION BY market, customer_id, item, size, money
                ORDER BY place
                ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ) AS newest_order
        FROM line_in_order
    )
    WHERE amount > 0 OR -2 * amount >= newest_order
),

counted AS (
    SELECT
        *,
        SUM(CASE WHEN amount > 0 THEN 1 ELSE -1 END) OVER (
            PARTITION BY market, customer_id, item, size, money
            ORDER BY place
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS excess
    FROM cancelling
),

-- The number of open orders at each line. A credit note without an open order lowers the minimum of `excess`.
nested AS (
    SELECT
        *,
        excess - LEAST(0, MIN(excess) OVER (
            PARTITION BY market, customer_id, item, size, money
            ORDER BY place
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        )) + CASE WHEN amount < 0 THEN 1 ELSE 0 END AS depth
    FROM counted
),

-- At each depth, an order is followed by the credit note that cancels it.
paired AS (
    SELECT
        line,
        amount,
        time,
        LEAD(amount) OVER same_depth AS next_amount,
        LEAD(time)   OVER same_depth AS next_time,
        LEAD(line)   OVER same_depth AS next_line
    FROM nested
    WINDOW same_depth AS (PARTITION BY market, customer_id, item, size, money, depth ORDER BY place)
)

SELECT line AS order_line, next_line AS credit_line, next_time AS cancelled_time
FROM paired
WHERE amount > 0
  AND next_amount < 0
  AND CAST(next_time AS DATE) - CAST(time AS DATE) <= $cancel_days
