-- The lines that may be an order and its credit note: one row for each line of the table `valid_lines` whose key has an
-- order and a credit note, in the order in which cancellations.py matches the lines.
--
--   $part         INTEGER  the part of the customers
--   $minor_units  INTEGER  number of minor units of one unit of money
--
-- Terms  order        a line with amount > 0
--        credit note  a line with amount < 0. The sign of its quantity does not matter.
--        key          the customer with the product and the quantity; a missing value equals a missing value only. If the product
--                     or the quantity is missing, also the day and the amount.
--
-- Within a key, the order of the rows depends on the time and on every other column, so only equal lines are interchangeable.

WITH

keyed AS (
    SELECT
        rowid AS line,
        *,
        ABS(quantity) AS size,
        CASE WHEN product IS NULL OR quantity IS NULL THEN CAST(time AS DATE) END AS own_day,
        CASE WHEN product IS NULL OR quantity IS NULL THEN ABS(amount) END AS own_amount
    FROM valid_lines
    WHERE part = $part AND amount <> 0
),

-- The number of a key may differ between two runs. It only separates the keys.
credit_key AS (
    SELECT *, ROW_NUMBER() OVER () AS number
    FROM (SELECT DISTINCT market, customer_id, product, size, own_day, own_amount FROM keyed WHERE amount < 0)
),

matched AS (
    SELECT keyed.*, credit_key.number
    FROM keyed
    JOIN credit_key
        ON keyed.market = credit_key.market
        AND keyed.customer_id = credit_key.customer_id
        AND keyed.product IS NOT DISTINCT FROM credit_key.product
        AND keyed.size IS NOT DISTINCT FROM credit_key.size
        AND keyed.own_day IS NOT DISTINCT FROM credit_key.own_day
        AND keyed.own_amount IS NOT DISTINCT FROM credit_key.own_amount
)

SELECT
    number                                    AS key,
    line,
    CAST(amount * $minor_units AS BIGINT)     AS amount,
    CAST(time AS DATE) - DATE '1970-01-01'    AS day
FROM matched
WHERE number IN (SELECT number FROM matched WHERE matched.amount > 0)
ORDER BY number, time, matched.amount < 0, matched.amount, basket, category, discount, quantity
