-- Longer than most models: a cause can only be judged beside the changes that it explains, and is tested with them.
-- A fact is imported once for each use: DuckDB keeps a step that is used twice in memory, all rows of it.
with

weekly_versions as (

    select * from {{ ref('fact_price_version') }}

),

daily_versions as (

    select * from {{ ref('fact_daily_price_version') }}

),

all_daily_versions as (

    select * from {{ ref('fact_daily_price_version') }}

),

daily_prices as (

    select * from {{ ref('fact_daily_price') }}

),

dates as (

    select * from {{ ref('dim_date') }}

),

-- Of the many sessions only those matter whose word did not stand.
restated_sessions as (

    select
        provider,
        instrument_id,
        session_date
    from all_daily_versions
    where version_number > 1 or known_to is not null
    group by provider, instrument_id, session_date

),

versions as (

    select
        'week' as cadence,
        price_version_key as version_key,
        provider,
        instrument_id,
        week_start_date as period_start_date,
        symbol,
        version_number,
        open_usd,
        high_usd,
        low_usd,
        close_usd,
        adjusted_close_usd,
        cast(volume_shares as double) as volume_shares,
        cast(null as double) as vwap_usd,
        cast(null as double) as transaction_count,
        dividend_usd,
        cast(null as double) as split_ratio,
        known_from,
        known_to,
        is_partial_week as is_partial
    from weekly_versions
    union all
    select
        'day' as cadence,
        daily_versions.daily_price_version_key as version_key,
        daily_versions.provider,
        daily_versions.instrument_id,
        daily_versions.session_date as period_start_date,
        daily_versions.symbol,
        daily_versions.version_number,
        daily_versions.open_usd,
        daily_versions.high_usd,
        daily_versions.low_usd,
        daily_versions.close_usd,
        daily_versions.adjusted_close_usd,
        daily_versions.volume_shares,
        daily_versions.vwap_usd,
        cast(daily_versions.transaction_count as double) as transaction_count,
        daily_versions.dividend_usd,
        daily_versions.split_ratio,
        daily_versions.known_from,
        daily_versions.known_to,
        coalesce(daily_versions.known_from < dates.closes_at, false) as is_partial
    from daily_versions
    inner join restated_sessions
        on
            daily_versions.provider = restated_sessions.provider
            and daily_versions.instrument_id = restated_sessions.instrument_id
            and daily_versions.session_date = restated_sessions.session_date
    left join dates
        on daily_versions.session_date = dates.calendar_date

),

ordered_versions as (

    select
        *,
        lag(known_from) over in_time as old_known_from,
        lag(known_to) over in_time as old_known_to,
        lag(is_partial) over in_time as is_old_partial,
        lag(open_usd) over in_time as old_open_usd,
        lag(high_usd) over in_time as old_high_usd,
        lag(low_usd) over in_time as old_low_usd,
        lag(close_usd) over in_time as old_close_usd,
        lag(adjusted_close_usd) over in_time as old_adjusted_close_usd,
        lag(volume_shares) over in_time as old_volume_shares,
        lag(vwap_usd) over in_time as old_vwap_usd,
        lag(transaction_count) over in_time as old_transaction_count,
        lag(dividend_usd) over in_time as old_dividend_usd,
        lag(split_ratio) over in_time as old_split_ratio,
        lead(known_from) over in_time as next_known_from,
        min(known_from) over (partition by cadence, provider, instrument_id) as first_known_from
    from versions
    window in_time as (partition by cadence, provider, instrument_id, period_start_date order by version_number)

),

-- A running period's row is meant to change, so what follows it is no restatement.
pairs as (

    select
        *,
        -- How much the vendor's factor moved, and how much of that the four decimals of its prices can explain.
        (adjusted_close_usd / close_usd) / (old_adjusted_close_usd / old_close_usd) as factor_ratio,
        0.0001 / adjusted_close_usd + 0.0001 / old_adjusted_close_usd + 1e-6 as rounding_ratio,
        (close_usd is distinct from old_close_usd) as is_close_changed,
        (
            open_usd is distinct from old_open_usd
            or high_usd is distinct from old_high_usd
            or low_usd is distinct from old_low_usd
            or close_usd is distinct from old_close_usd
        ) as is_raw_changed
    from ordered_versions
    where old_known_to = known_from and not is_old_partial

),

measures as (

    select 'open' as measure
    union all
    select 'high'
    union all
    select 'low'
    union all
    select 'close'
    union all
    select 'adjusted_close'
    union all
    select 'volume'
    union all
    select 'vwap'
    union all
    select 'transaction_count'
    union all
    select 'dividend'
    union all
    select 'split_ratio'

),

values_by_measure as (

    select
        pairs.*,
        measures.measure,
        case measures.measure
            when 'open' then pairs.old_open_usd
            when 'high' then pairs.old_high_usd
            when 'low' then pairs.old_low_usd
            when 'close' then pairs.old_close_usd
            when 'adjusted_close' then pairs.old_adjusted_close_usd
            when 'volume' then pairs.old_volume_shares
            when 'vwap' then pairs.old_vwap_usd
            when 'transaction_count' then pairs.old_transaction_count
            when 'dividend' then pairs.old_dividend_usd
            when 'split_ratio' then pairs.old_split_ratio
        end as old_value,
        case measures.measure
            when 'open' then pairs.open_usd
            when 'high' then pairs.high_usd
            when 'low' then pairs.low_usd
            when 'close' then pairs.close_usd
            when 'adjusted_close' then pairs.adjusted_close_usd
            when 'volume' then pairs.volume_shares
            when 'vwap' then pairs.vwap_usd
            when 'transaction_count' then pairs.transaction_count
            when 'dividend' then pairs.dividend_usd
            when 'split_ratio' then pairs.split_ratio
        end as new_value
    from pairs
    cross join measures

),

-- An adjusted close that only follows its restated close is the same piece of news.
changes as (

    select * from values_by_measure
    where
        new_value is distinct from old_value
        and not (
            measure = 'adjusted_close'
            and is_close_changed
            and coalesce(abs(factor_ratio - 1) <= rounding_ratio, false)
        )

),

-- Every later word on a dividend, with the share of the price that it leaves: 1 - dividend / close of the week before.
weekly_dividend_news as (

    select
        news.cadence,
        news.provider,
        news.instrument_id,
        news.period_start_date as ex_date,
        news.known_from,
        (1 - news.dividend_usd / coalesce(before.close_usd, news.close_usd))
        / (1 - coalesce(news.old_dividend_usd, 0) / coalesce(before.close_usd, news.close_usd)) as kept_ratio
    from ordered_versions as news
    left join versions as before
        on
            news.cadence = before.cadence
            and news.provider = before.provider
            and news.instrument_id = before.instrument_id
            and {{ add_days('news.period_start_date', -7) }} = before.period_start_date
            and news.known_from >= before.known_from
            and (before.known_to is null or news.known_from < before.known_to)
    where
        news.cadence = 'week'
        and news.dividend_usd <> coalesce(news.old_dividend_usd, 0)
        and news.known_from > news.first_known_from
        and greatest(news.dividend_usd, coalesce(news.old_dividend_usd, 0))
        < coalesce(before.close_usd, news.close_usd)

),

adjusted_instruments as (

    select
        provider,
        instrument_id
    from changes
    where cadence = 'day' and measure = 'adjusted_close'
    group by provider, instrument_id

),

-- Of days the fact knows the dividends and what they leave: what its total factor moved by beyond the split.
daily_dividends as (

    select
        adjusted_instruments.provider,
        daily_prices.instrument_id,
        daily_prices.session_date,
        daily_prices.dividend_usd,
        daily_prices.split_ratio
        * lag(daily_prices.total_factor) over in_time / daily_prices.total_factor as kept_ratio
    from daily_prices
    inner join adjusted_instruments
        on daily_prices.instrument_id = adjusted_instruments.instrument_id
    window in_time as (
        partition by adjusted_instruments.provider, daily_prices.instrument_id order by daily_prices.session_date
    )

),

-- A vendor adjusts for a dividend once its first session without it has closed.
dividend_news as (

    select * from weekly_dividend_news
    union all
    select
        'day' as cadence,
        daily_dividends.provider,
        daily_dividends.instrument_id,
        daily_dividends.session_date as ex_date,
        dates.closes_at as known_from,
        daily_dividends.kept_ratio
    from daily_dividends
    inner join dates
        on daily_dividends.session_date = dates.calendar_date
    where daily_dividends.dividend_usd > 0 and daily_dividends.kept_ratio > 0

),

-- What the dividends that became known between two versions make us expect of the factor of an earlier period. Closes
-- of the week before stand in for those of the day before, hence 30 % of room around a dividend's effect in weeks.
factor_changes as (

    select
        changes.version_key,
        max(changes.cadence) as cadence,
        max(changes.provider) as provider,
        max(changes.instrument_id) as instrument_id,
        max(changes.known_from) as known_from,
        max(changes.factor_ratio) as factor_ratio,
        max(changes.rounding_ratio) as rounding_ratio,
        max(case changes.cadence when 'week' then 0.3 else 0.05 end) as room_ratio,
        bool_or(changes.is_raw_changed) as is_raw_changed,
        count(dividend_news.kept_ratio) as dividend_count,
        min(dividend_news.ex_date) as first_ex_date,
        coalesce(exp(sum(ln(dividend_news.kept_ratio))), 1) as kept_ratio
    from changes
    left join dividend_news
        on
            changes.cadence = dividend_news.cadence
            and changes.provider = dividend_news.provider
            and changes.instrument_id = dividend_news.instrument_id
            and changes.period_start_date < dividend_news.ex_date
            and changes.old_known_from < dividend_news.known_from
            and changes.known_from >= dividend_news.known_from
    where changes.measure = 'adjusted_close'
    group by changes.version_key

),

split_ratios as (

    select
        ratios.new_shares,
        ratios.old_shares
    from (
        values
        (2.0, 1.0), (3.0, 1.0), (4.0, 1.0), (5.0, 1.0), (6.0, 1.0), (7.0, 1.0), (8.0, 1.0), (9.0, 1.0), (10.0, 1.0),
        (12.0, 1.0), (15.0, 1.0), (20.0, 1.0), (25.0, 1.0), (30.0, 1.0), (40.0, 1.0), (50.0, 1.0), (100.0, 1.0),
        (3.0, 2.0), (4.0, 3.0), (5.0, 2.0), (5.0, 3.0), (5.0, 4.0), (6.0, 5.0)
    ) as ratios (new_shares, old_shares)

),

split_factors as (

    select old_shares / new_shares as split_factor from split_ratios
    union all
    select new_shares / old_shares from split_ratios

),

fitted_factors as (

    select
        factor_changes.version_key,
        max(factor_changes.cadence) as cadence,
        max(factor_changes.provider) as provider,
        max(factor_changes.instrument_id) as instrument_id,
        max(factor_changes.known_from) as known_from,
        max(factor_changes.factor_ratio) as factor_ratio,
        max(factor_changes.rounding_ratio) as rounding_ratio,
        max(factor_changes.dividend_count) as dividend_count,
        max(factor_changes.first_ex_date) as first_ex_date,
        bool_or(
            factor_changes.dividend_count > 0
            and abs(factor_changes.factor_ratio - factor_changes.kept_ratio)
            <= factor_changes.room_ratio * abs(1 - factor_changes.kept_ratio) + factor_changes.rounding_ratio
        ) as is_dividend,
        max(split_factors.split_factor) as split_factor
    from factor_changes
    left join split_factors
        on
            not factor_changes.is_raw_changed
            and abs(factor_changes.factor_ratio / factor_changes.kept_ratio / split_factors.split_factor - 1)
            <= 0.002 + factor_changes.room_ratio * abs(1 - factor_changes.kept_ratio) + factor_changes.rounding_ratio
    group by factor_changes.version_key

),

-- A dividend or a split moves all earlier periods by one ratio; one that moved by another was corrected.
uniform_ratios as (

    select
        *,
        median(factor_ratio) over (
            partition by
                cadence,
                provider,
                instrument_id,
                known_from,
                dividend_count,
                first_ex_date,
                is_dividend,
                split_factor
        ) as uniform_ratio
    from fitted_factors

),

factor_causes as (

    select
        version_key,
        'adjusted_close' as measure,
        case
            when abs(factor_ratio / uniform_ratio - 1) > 2 * rounding_ratio then 'correction'
            when is_dividend then 'dividend'
            when split_factor is not null then 'split'
            else 'correction'
        end as cause
    from uniform_ratios

),

restated_values as (

    select
        changes.cadence,
        changes.instrument_id,
        changes.symbol,
        changes.provider,
        changes.period_start_date,
        changes.measure,
        changes.old_value,
        changes.new_value,
        changes.old_known_from as old_known_at,
        changes.known_from as first_seen_at,
        coalesce(factor_causes.cause, 'correction') as cause
    from changes
    left join factor_causes
        on
            changes.version_key = factor_causes.version_key
            and changes.measure = factor_causes.measure

),

withdrawn_rows as (

    select
        cadence,
        instrument_id,
        symbol,
        provider,
        period_start_date,
        'close' as measure,
        close_usd as old_value,
        cast(null as double) as new_value,
        known_from as old_known_at,
        known_to as first_seen_at,
        'withdrawn' as cause
    from ordered_versions
    where known_to is not null and known_to is distinct from next_known_from and not is_partial

),

reinstated_rows as (

    select
        cadence,
        instrument_id,
        symbol,
        provider,
        period_start_date,
        'close' as measure,
        cast(null as double) as old_value,
        close_usd as new_value,
        old_known_to as old_known_at,
        known_from as first_seen_at,
        'reinstated' as cause
    from ordered_versions
    where old_known_to <> known_from and not is_old_partial

),

restatements as (

    select * from restated_values
    union all
    select * from withdrawn_rows
    union all
    select * from reinstated_rows

),

-- One measure changes once at an instant, so time alone orders the changes.
numbered_restatements as (

    select
        *,
        cast(
            row_number() over (
                partition by cadence, provider, instrument_id, period_start_date, measure order by first_seen_at
            ) as integer
        ) as change_number
    from restatements

),

keyed_restatements as (

    select
        case cadence
            when 'week'
                then {{ surrogate_key(['provider', 'instrument_id', 'period_start_date', 'measure', 'change_number']) }}
            else
                {{ surrogate_key([
                    'cadence', 'provider', 'instrument_id', 'period_start_date', 'measure', 'change_number'
                ]) }}
        end as restatement_key,
        instrument_id,
        symbol,
        provider,
        cadence,
        period_start_date,
        case when cadence = 'week' then period_start_date end as week_start_date,
        case when cadence = 'day' then period_start_date end as session_date,
        measure,
        change_number,
        old_value,
        new_value,
        new_value / nullif(old_value, 0) - 1 as change_ratio,
        old_known_at,
        first_seen_at,
        cause
    from numbered_restatements

)

select * from keyed_restatements
