-- One row per instrument of `bars` that is listed and has $least_count volatilities in the year up to its newest
-- bar: how far its newest volatility is from its mean of that year, in sample deviations, beside its newest volume's
-- z-score.
with newest as (
    select
        instrument_id,
        max(bar_date) as bar_date
    from bars
    group by instrument_id
),

measured as (
    select
        b.instrument_id,
        any_value(b.symbol) as symbol,
        any_value(b.name) as name,
        any_value(b.sector) as sector,
        max(b.session_date) as session_date,
        arg_max_null(b.return_ratio, b.bar_date) as return_ratio,
        arg_max_null(b.volatility_ratio, b.bar_date) as volatility_ratio,
        arg_max_null(b.volume_zscore, b.bar_date) as volume_zscore,
        count(b.volatility_ratio) as value_count,
        avg(b.volatility_ratio) as mean_volatility_ratio,
        stddev_samp(b.volatility_ratio) as deviation
    from bars as b
    inner join newest as n on b.instrument_id = n.instrument_id and b.bar_date > n.bar_date - 365
    group by b.instrument_id
)

select
    m.symbol,
    m.name,
    m.sector,
    m.session_date,
    m.return_ratio,
    m.volatility_ratio,
    m.mean_volatility_ratio,
    (m.volatility_ratio - m.mean_volatility_ratio) / nullif(m.deviation, 0) as volatility_zscore,
    m.volume_zscore,
    m.value_count
from measured as m
inner join dim_instrument as i on m.instrument_id = i.instrument_id
where i.is_current and not i.is_delisted and m.value_count >= $least_count
order by volatility_zscore desc nulls last, m.symbol asc
