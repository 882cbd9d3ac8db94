with

outcomes as (

    select * from {{ ref('stg_outcomes') }}

),

bars as (

    select * from {{ ref('stg_bars_weekly_adjusted') }}

),

build as (

    select * from {{ ref('stg_build') }}

),

newest_bars as (

    select
        provider,
        instrument_id,
        'bars_weekly_adjusted' as contract,
        max(session_date) as newest_session_date
    from bars
    group by provider, instrument_id

),

feed_slices as (

    select
        provider,
        dataset,
        slice_start_date,
        row_number() over (partition by provider, dataset order by slice_start_date) as slice_number,
        count(*) over (partition by provider, dataset) as slice_count
    from outcomes
    group by provider, dataset, slice_start_date

),

judged_outcomes as (

    select
        outcomes.*,
        outcomes.outcome in ('fetched', 'empty') as is_complete,
        feed_slices.slice_number = feed_slices.slice_count as is_newest_slice,
        max(case when outcomes.outcome = 'fetched' then outcomes.fetched_at end) over (
            partition by outcomes.provider, outcomes.dataset, outcomes.instrument_id
        ) as newest_fetched_at,
        feed_slices.slice_count
        - max(case when outcomes.outcome in ('fetched', 'empty') then feed_slices.slice_number end) over (
            partition by outcomes.provider, outcomes.dataset, outcomes.instrument_id
        ) as snapshots_behind
    from outcomes
    inner join feed_slices
        on
            outcomes.provider = feed_slices.provider
            and outcomes.dataset = feed_slices.dataset
            and outcomes.slice_start_date = feed_slices.slice_start_date

),

coverage as (

    select
        {{ surrogate_key([
            'judged_outcomes.provider',
            'judged_outcomes.dataset',
            'judged_outcomes.slice_start_date',
            'judged_outcomes.instrument_id'
        ]) }} as coverage_key,
        judged_outcomes.provider,
        judged_outcomes.dataset,
        judged_outcomes.slice_start_date,
        judged_outcomes.instrument_id,
        judged_outcomes.symbol,
        judged_outcomes.outcome,
        judged_outcomes.reason,
        judged_outcomes.is_complete,
        judged_outcomes.is_newest_slice,
        judged_outcomes.fetched_at,
        judged_outcomes.newest_fetched_at,
        newest_bars.newest_session_date,
        cast(
            {{ days_between(
                'coalesce(newest_bars.newest_session_date, ' ~ exchange_date('judged_outcomes.newest_fetched_at') ~ ')',
                exchange_date('build.as_of')
            ) }} as integer
        ) as age_days,
        cast(judged_outcomes.snapshots_behind as integer) as snapshots_behind
    from judged_outcomes
    cross join build
    left join newest_bars
        on
            judged_outcomes.provider = newest_bars.provider
            and judged_outcomes.contract = newest_bars.contract
            and judged_outcomes.instrument_id = newest_bars.instrument_id

)

select * from coverage
