-- Longer than most models: what was expected, what was asked and what came are three questions of one row.
with

outcomes as (

    select * from {{ ref('stg_outcomes') }}

),

sources as (

    select * from {{ ref('stg_sources') }}

),

instruments as (

    select * from {{ ref('stg_instruments') }}

),

quarantine as (

    select * from {{ ref('stg_quarantine') }}

),

weekly_bars as (

    select * from {{ ref('stg_bars_weekly_adjusted') }}

),

daily_versions as (

    select * from {{ ref('fact_daily_price_version') }}

),

adjusted_closes as (

    select * from {{ ref('mart_adjustment_check') }}

),

dates as (

    select * from {{ ref('dim_date') }}

),

spellings as (

    select * from {{ ref('int_spelling') }}

),

build as (

    select * from {{ ref('stg_build') }}

),

-- A payload of the whole market names no instrument. Of its pages the one that is worst off speaks for all.
ranked_outcomes as (

    select
        *,
        row_number() over (
            partition by provider, dataset, slice_start_date, instrument_id
            order by
                case outcome when 'fetched' then 2 when 'empty' then 1 else 0 end asc,
                outcome asc,
                reason asc,
                fetched_at asc
        ) as page_number
    from outcomes

),

requests as (

    select
        ranked_outcomes.provider,
        ranked_outcomes.dataset,
        ranked_outcomes.contract,
        ranked_outcomes.slice_start_date,
        ranked_outcomes.instrument_id,
        ranked_outcomes.symbol,
        ranked_outcomes.outcome,
        case
            when ranked_outcomes.outcome = 'missing' and coalesce(ranked_outcomes.reason, '') = '' then 'not_asked'
            else ranked_outcomes.reason
        end as reason,
        ranked_outcomes.fetched_at,
        ranked_outcomes.instrument_id is null as is_market,
        sources.grain = 'session' and sources.contract = 'bars_daily' as is_session_feed,
        sources.grain = 'session' and sources.contract = 'bars_daily' and not sources.is_snapshot as is_calendar_feed
    from ranked_outcomes
    left join sources
        on
            ranked_outcomes.provider = sources.provider
            and ranked_outcomes.dataset = sources.dataset
    where ranked_outcomes.instrument_id is not null or ranked_outcomes.page_number = 1

),

-- The sessions that a feed must have: those of the calendar from its first slice to its newest.
feed_ranges as (

    select
        provider,
        dataset,
        contract,
        bool_or(is_market) as is_market,
        min(slice_start_date) as first_slice_date,
        max(slice_start_date) as last_slice_date
    from requests
    where is_calendar_feed
    group by provider, dataset, contract

),

-- A feed serves the classes that it was ever asked for; the whole market's are shares and funds.
feed_classes as (

    select
        requests.provider,
        requests.dataset,
        instruments.asset_class
    from requests
    inner join instruments
        on requests.instrument_id = instruments.instrument_id
    where requests.is_calendar_feed
    group by requests.provider, requests.dataset, instruments.asset_class
    union
    select
        feed_ranges.provider,
        feed_ranges.dataset,
        market_classes.asset_class
    from feed_ranges
    cross join (values ('stock'), ('etf')) as market_classes (asset_class)
    where feed_ranges.is_market

),

expected_sessions as (

    select
        feed_ranges.provider,
        feed_ranges.dataset,
        feed_ranges.contract,
        dates.calendar_date as slice_start_date,
        instruments.instrument_id,
        instruments.symbol
    from feed_ranges
    inner join feed_classes
        on
            feed_ranges.provider = feed_classes.provider
            and feed_ranges.dataset = feed_classes.dataset
    inner join instruments
        on feed_classes.asset_class = instruments.asset_class
    inner join dates
        on
            feed_ranges.first_slice_date <= dates.calendar_date
            and feed_ranges.last_slice_date >= dates.calendar_date
            and instruments.listed_date <= dates.calendar_date
            and coalesce(instruments.delisted_date, dates.calendar_date) >= dates.calendar_date
    where dates.is_session and instruments.is_followed

),

asked_members as (

    select * from requests
    where is_calendar_feed and not is_market

),

asked_markets as (

    select * from requests
    where is_calendar_feed and is_market

),

session_requests as (

    select
        coalesce(expected_sessions.provider, asked_members.provider) as provider,
        coalesce(expected_sessions.dataset, asked_members.dataset) as dataset,
        coalesce(expected_sessions.contract, asked_members.contract) as contract,
        coalesce(expected_sessions.slice_start_date, asked_members.slice_start_date) as slice_start_date,
        coalesce(expected_sessions.instrument_id, asked_members.instrument_id) as instrument_id,
        coalesce(asked_members.symbol, expected_sessions.symbol) as symbol,
        coalesce(asked_members.outcome, asked_markets.outcome, 'missing') as outcome,
        case
            when coalesce(asked_members.outcome, asked_markets.outcome) is null then 'not_asked'
            else coalesce(asked_members.reason, asked_markets.reason)
        end as reason,
        coalesce(asked_members.fetched_at, asked_markets.fetched_at) as fetched_at,
        true as is_session_feed
    from expected_sessions
    full outer join asked_members
        on
            expected_sessions.provider = asked_members.provider
            and expected_sessions.dataset = asked_members.dataset
            and expected_sessions.slice_start_date = asked_members.slice_start_date
            and expected_sessions.instrument_id = asked_members.instrument_id
    left join asked_markets
        on
            expected_sessions.provider = asked_markets.provider
            and expected_sessions.dataset = asked_markets.dataset
            and expected_sessions.slice_start_date = asked_markets.slice_start_date

),

all_requests as (

    select * from session_requests
    union all
    select
        provider,
        dataset,
        contract,
        slice_start_date,
        instrument_id,
        symbol,
        outcome,
        reason,
        fetched_at,
        coalesce(is_session_feed, false) as is_session_feed
    from requests
    where not coalesce(is_calendar_feed, false)

),

-- Of the whole market few are expected.
expected_instruments as (

    select instrument_id from all_requests
    where is_session_feed
    group by instrument_id

),

known_bars as (

    select
        daily_versions.provider,
        daily_versions.dataset,
        daily_versions.instrument_id,
        daily_versions.session_date,
        daily_versions.known_from
    from daily_versions
    inner join expected_instruments
        on daily_versions.instrument_id = expected_instruments.instrument_id
    where daily_versions.is_current
    union all
    select
        provider,
        dataset,
        instrument_id,
        session_date,
        known_at as known_from
    from adjusted_closes

),

present_bars as (

    select
        provider,
        dataset,
        instrument_id,
        session_date,
        min(known_from) as known_from
    from known_bars
    group by provider, dataset, instrument_id, session_date

),

rejected_rows as (

    select
        quarantine.provider,
        quarantine.dataset,
        quarantine.slice_start_date,
        coalesce(quarantine.instrument_id, spellings.instrument_id) as instrument_id
    from quarantine
    left join spellings
        on
            quarantine.instrument_id is null
            and quarantine.symbol = spellings.symbol
            and quarantine.slice_start_date >= spellings.valid_from
            and quarantine.slice_start_date < coalesce(spellings.valid_to, cast('9999-12-31' as date))
    where quarantine.contract = 'bars_daily' and quarantine.rule <> 'outside_slice'

),

rejected_bars as (

    select
        provider,
        dataset,
        slice_start_date,
        instrument_id
    from rejected_rows
    group by provider, dataset, slice_start_date, instrument_id

),

-- A feed of sessions was asked about one day: an answer without that day's bar is a gap, and has a name. The joins hold
-- equalities only: with another condition DuckDB compares every pair (27 s instead of one for 23,000 rows).
answered_requests as (

    select
        all_requests.provider,
        all_requests.dataset,
        all_requests.contract,
        all_requests.slice_start_date,
        all_requests.instrument_id,
        all_requests.symbol,
        case
            when not all_requests.is_session_feed then all_requests.outcome
            when present_bars.instrument_id is not null then 'fetched'
            when all_requests.outcome = 'fetched' then 'missing'
            else all_requests.outcome
        end as outcome,
        case
            when not all_requests.is_session_feed then all_requests.reason
            when present_bars.instrument_id is not null then ''
            when all_requests.outcome <> 'fetched' then all_requests.reason
            when rejected_bars.instrument_id is not null then 'rejected'
            else 'no_bar'
        end as reason,
        coalesce(all_requests.fetched_at, present_bars.known_from) as fetched_at
    from all_requests
    left join present_bars
        on
            all_requests.provider = present_bars.provider
            and all_requests.dataset = present_bars.dataset
            and all_requests.instrument_id = present_bars.instrument_id
            and all_requests.slice_start_date = present_bars.session_date
    left join rejected_bars
        on
            all_requests.provider = rejected_bars.provider
            and all_requests.dataset = rejected_bars.dataset
            and all_requests.instrument_id = rejected_bars.instrument_id
            and all_requests.slice_start_date = rejected_bars.slice_start_date

),

newest_bars as (

    select
        provider,
        dataset,
        instrument_id,
        max(session_date) as newest_session_date
    from weekly_bars
    group by provider, dataset, instrument_id
    union all
    select
        provider,
        dataset,
        instrument_id,
        max(session_date) as newest_session_date
    from present_bars
    group by provider, dataset, instrument_id

),

feed_slices as (

    select
        provider,
        dataset,
        slice_start_date,
        row_number() over (partition by provider, dataset order by slice_start_date) as slice_number,
        count(*) over (partition by provider, dataset) as slice_count
    from answered_requests
    group by provider, dataset, slice_start_date

),

judged_requests as (

    select
        answered_requests.*,
        answered_requests.outcome in ('fetched', 'empty') as is_complete,
        feed_slices.slice_number = feed_slices.slice_count as is_newest_slice,
        max(case when answered_requests.outcome = 'fetched' then answered_requests.fetched_at end) over (
            partition by answered_requests.provider, answered_requests.dataset, answered_requests.instrument_id
        ) as newest_fetched_at,
        feed_slices.slice_count
        - max(case when answered_requests.outcome in ('fetched', 'empty') then feed_slices.slice_number end) over (
            partition by answered_requests.provider, answered_requests.dataset, answered_requests.instrument_id
        ) as snapshots_behind
    from answered_requests
    inner join feed_slices
        on
            answered_requests.provider = feed_slices.provider
            and answered_requests.dataset = feed_slices.dataset
            and answered_requests.slice_start_date = feed_slices.slice_start_date

),

coverage as (

    select
        {{ surrogate_key([
            'judged_requests.provider',
            'judged_requests.dataset',
            'judged_requests.slice_start_date',
            'judged_requests.instrument_id'
        ]) }} as coverage_key,
        judged_requests.provider,
        judged_requests.dataset,
        judged_requests.slice_start_date,
        judged_requests.instrument_id,
        judged_requests.symbol,
        judged_requests.outcome,
        judged_requests.reason,
        judged_requests.is_complete,
        judged_requests.is_newest_slice,
        judged_requests.fetched_at,
        judged_requests.newest_fetched_at,
        newest_bars.newest_session_date,
        cast(
            {{ days_between(
                'coalesce(newest_bars.newest_session_date, ' ~ exchange_date('judged_requests.newest_fetched_at') ~ ')',
                exchange_date('build.as_of')
            ) }} as integer
        ) as age_days,
        cast(judged_requests.snapshots_behind as integer) as snapshots_behind
    from judged_requests
    cross join build
    left join newest_bars
        on
            judged_requests.provider = newest_bars.provider
            and judged_requests.dataset = newest_bars.dataset
            and judged_requests.instrument_id = newest_bars.instrument_id

)

select * from coverage
