with

versions as (

    select * from {{ ref('fact_daily_price_version') }}

),

prices as (

    select * from {{ ref('fact_daily_price') }}

),

anchors as (

    select * from {{ ref('dim_price_anchor') }}

),

actions as (

    select * from {{ ref('fact_corporate_action') }}

),

-- Each provider's present word on a session that several have, beside that of the provider which the fact chose.
bars as (

    select
        versions.instrument_id,
        versions.session_date,
        versions.provider,
        versions.open_usd,
        versions.high_usd,
        versions.low_usd,
        versions.close_usd,
        versions.volume_shares,
        prices.symbol,
        prices.provider as winner_provider,
        prices.open_usd as winner_open_usd,
        prices.high_usd as winner_high_usd,
        prices.low_usd as winner_low_usd,
        prices.close_usd as winner_close_usd,
        prices.volume_shares as winner_volume_shares,
        versions.close_usd / prices.close_usd as close_ratio,
        anchors.split_factor / prices.split_factor as later_split_ratio
    from versions
    inner join prices
        on
            versions.instrument_id = prices.instrument_id
            and versions.session_date = prices.session_date
    inner join anchors
        on versions.instrument_id = anchors.instrument_id
    where versions.is_current and prices.provider_count > 1

),

-- A split that one provider missed, or made twice, moves the close by more than the tolerance. One cent on a stock of
-- two is half of its price, but no split.
suspect_bars as (

    select
        instrument_id,
        session_date,
        provider,
        close_ratio,
        later_split_ratio
    from bars
    where
        abs(close_ratio - 1) > 0.001 + 1e-9
        and abs(close_usd - winner_close_usd) > 0.01 + 1e-9

),

common_splits as (

    select ratios.split_ratio
    from (values (1.5), (2.0), (3.0), (4.0), (5.0), (7.0), (8.0), (10.0), (20.0)) as ratios (split_ratio)

),

candidate_splits as (

    select
        suspect_bars.*,
        true as is_own,
        actions.split_ratio
    from suspect_bars
    inner join actions
        on
            suspect_bars.instrument_id = actions.instrument_id
            and actions.action_type = 'split'
    union all
    select
        suspect_bars.*,
        true as is_own,
        suspect_bars.later_split_ratio as split_ratio
    from suspect_bars
    union all
    select
        suspect_bars.*,
        false as is_own,
        common_splits.split_ratio
    from suspect_bars
    cross join common_splits

),

fitted_splits as (

    select
        *,
        -- Which way the prices differ: by the split or by its inverse.
        case
            when abs(close_ratio * split_ratio - 1) <= 0.005 then 1 / split_ratio
            when abs(close_ratio / split_ratio - 1) <= 0.005 then split_ratio
        end as split_price_ratio
    from candidate_splits
    where abs(ln(split_ratio)) > 0.01

),

numbered_splits as (

    select
        *,
        -- The instrument's own split explains more than a common one, then the nearest; equal ones are the same ratio.
        row_number() over (
            partition by instrument_id, session_date, provider
            order by is_own desc, abs(close_ratio / split_price_ratio - 1) asc, split_ratio asc
        ) as fit_number
    from fitted_splits
    where split_price_ratio is not null

),

measures as (

    select
        measures_of_a_bar.measure,
        measures_of_a_bar.tolerance_ratio
    from (
        values
        ('open_usd', 0.001),
        ('high_usd', 0.001),
        ('low_usd', 0.001),
        ('close_usd', 0.001),
        ('volume_shares', 0.02)
    ) as measures_of_a_bar (measure, tolerance_ratio)

),

compared_values as (

    select
        bars.instrument_id,
        bars.symbol,
        bars.session_date,
        measures.measure,
        bars.provider,
        bars.winner_provider,
        cast(measures.tolerance_ratio as double) as tolerance_ratio,
        numbered_splits.split_ratio,
        numbered_splits.split_price_ratio,
        case measures.measure
            when 'open_usd' then bars.open_usd
            when 'high_usd' then bars.high_usd
            when 'low_usd' then bars.low_usd
            when 'close_usd' then bars.close_usd
            when 'volume_shares' then bars.volume_shares
        end as value,
        case measures.measure
            when 'open_usd' then bars.winner_open_usd
            when 'high_usd' then bars.winner_high_usd
            when 'low_usd' then bars.winner_low_usd
            when 'close_usd' then bars.winner_close_usd
            when 'volume_shares' then bars.winner_volume_shares
        end as winner_value
    from bars
    cross join measures
    left join numbered_splits
        on
            bars.instrument_id = numbered_splits.instrument_id
            and bars.session_date = numbered_splits.session_date
            and bars.provider = numbered_splits.provider
            and numbered_splits.fit_number = 1

),

differences as (

    select
        *,
        case
            when value = winner_value then 0.0
            else value / nullif(winner_value, 0) - 1
        end as difference_ratio,
        -- After a split there are more shares at a lower price.
        case
            when measure = 'volume_shares' then abs(value / nullif(winner_value, 0) * split_price_ratio - 1) <= 0.02
            else abs(value / winner_value / split_price_ratio - 1) <= 0.005
        end as follows_split
    from compared_values

),

judged_values as (

    select
        *,
        case
            -- 10.01 against 10.00 is a tenth of a percent, whatever binary fractions make of it.
            when abs(difference_ratio) <= tolerance_ratio + 1e-9 then 'agrees'
            when follows_split then 'missed_split'
            else 'differs'
        end as verdict
    from differences

),

scores as (

    select
        instrument_id,
        provider,
        avg(case when verdict = 'agrees' then 1.0 else 0.0 end) as provider_score
    from judged_values
    group by instrument_id, provider

),

scored_values as (

    select
        judged_values.*,
        scores.provider_score
    from judged_values
    inner join scores
        on
            judged_values.instrument_id = scores.instrument_id
            and judged_values.provider = scores.provider

),

reconciliation as (

    select
        {{ surrogate_key(['instrument_id', 'session_date', 'measure', 'provider']) }} as reconciliation_key,
        instrument_id,
        symbol,
        session_date,
        measure,
        provider,
        value,
        winner_provider,
        winner_value,
        provider = winner_provider as is_winner,
        difference_ratio,
        coalesce({{ is_same_value('value', 'winner_value') }}, false) as is_equal,
        tolerance_ratio,
        verdict,
        case when verdict = 'missed_split' then split_ratio end as likely_split_ratio,
        provider_score
    from scored_values

)

select * from reconciliation
