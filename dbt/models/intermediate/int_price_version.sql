-- Longer than most models: what each fetch adds to the versions before it is one chain of steps.
with

bars as (

    select * from {{ ref('stg_bars_weekly_adjusted') }}

),

calendar as (

    select * from {{ ref('stg_calendar') }}

),

quarantine as (

    select * from {{ ref('stg_quarantine') }}

),

instruments as (

    select * from {{ ref('stg_instruments') }}

),

-- A fetch is one slice's answer for one instrument. Inside a slice silver keeps only what changed, so the weeks that an
-- answer spans are those of the whole slice.
fetches as (

    select
        provider,
        instrument_id,
        slice_start_date,
        min(known_at) as fetched_at,
        min(week_start_date) as first_week_date,
        max(week_start_date) as last_week_date,
        row_number() over (partition by provider, instrument_id order by slice_start_date) as fetch_number,
        count(*) over (partition by provider, instrument_id) as fetch_count
    from bars
    group by provider, instrument_id, slice_start_date

),

present_weeks as (

    select
        bars.provider,
        bars.instrument_id,
        bars.week_start_date,
        fetches.fetch_number,
        fetches.fetch_count,
        lead(fetches.fetch_number) over (
            partition by bars.provider, bars.instrument_id, bars.week_start_date order by fetches.fetch_number
        ) as next_fetch_number
    from bars
    inner join fetches
        on
            bars.provider = fetches.provider
            and bars.instrument_id = fetches.instrument_id
            and bars.slice_start_date = fetches.slice_start_date
    group by
        bars.provider, bars.instrument_id, bars.week_start_date, fetches.fetch_number, fetches.fetch_count

),

missed_weeks as (

    select * from present_weeks
    where
        next_fetch_number > fetch_number + 1
        or (next_fetch_number is null and fetch_number < fetch_count)

),

-- A row that we rejected is not one that the provider withdrew: the last sound version stands. One whose date can't be
-- read (null here) may be any week's, so its answer withdraws nothing.
rejected_weeks as (

    select
        provider,
        instrument_id,
        slice_start_date,
        {{ week_start(json_date('row_json', 'session_date')) }} as week_start_date
    from quarantine
    where contract = 'bars_weekly_adjusted' and rule is distinct from 'payload_unreadable'
    group by all

),

-- Withdrawn: a later answer reaches from before the week to after it, and the week is not in it.
withdrawals as (

    select
        missed_weeks.provider,
        missed_weeks.instrument_id,
        missed_weeks.week_start_date,
        missed_weeks.fetch_number,
        min(fetches.fetched_at) as withdrawn_at
    from missed_weeks
    inner join fetches
        on
            missed_weeks.provider = fetches.provider
            and missed_weeks.instrument_id = fetches.instrument_id
            and missed_weeks.fetch_number < fetches.fetch_number
            and fetches.fetch_number < coalesce(missed_weeks.next_fetch_number, missed_weeks.fetch_count + 1)
            and missed_weeks.week_start_date between fetches.first_week_date and fetches.last_week_date
    left join rejected_weeks
        on
            fetches.provider = rejected_weeks.provider
            and fetches.instrument_id = rejected_weeks.instrument_id
            and fetches.slice_start_date = rejected_weeks.slice_start_date
            and missed_weeks.week_start_date
            = coalesce(rejected_weeks.week_start_date, missed_weeks.week_start_date)
    where rejected_weeks.provider is null
    group by
        missed_weeks.provider, missed_weeks.instrument_id, missed_weeks.week_start_date, missed_weeks.fetch_number

),

sightings as (

    select
        provider,
        instrument_id,
        week_start_date,
        known_at,
        true as is_present,
        symbol,
        session_date,
        open_usd,
        high_usd,
        low_usd,
        close_usd,
        adjusted_close_usd,
        volume_shares,
        dividend_usd
    from bars
    union all
    select
        provider,
        instrument_id,
        week_start_date,
        withdrawn_at as known_at,
        false as is_present,
        null as symbol,
        null as session_date,
        null as open_usd,
        null as high_usd,
        null as low_usd,
        null as close_usd,
        null as adjusted_close_usd,
        null as volume_shares,
        null as dividend_usd
    from withdrawals

),

-- A sighting begins a run when anything differs from the one before it: A, B, A are three runs.
marked_sightings as (

    select
        *,
        case
            when
                (
                    is_present is not distinct from lag(is_present) over in_time
                    and session_date is not distinct from lag(session_date) over in_time
                    and open_usd is not distinct from lag(open_usd) over in_time
                    and high_usd is not distinct from lag(high_usd) over in_time
                    and low_usd is not distinct from lag(low_usd) over in_time
                    and close_usd is not distinct from lag(close_usd) over in_time
                    and adjusted_close_usd is not distinct from lag(adjusted_close_usd) over in_time
                    and volume_shares is not distinct from lag(volume_shares) over in_time
                    and dividend_usd is not distinct from lag(dividend_usd) over in_time
                )
                then 0
            else 1
        end as is_new
    from sightings
    -- Two sightings of one week at one instant can't be: `known_at` is part of the contract's key.
    window in_time as (partition by provider, instrument_id, week_start_date order by known_at)

),

numbered_sightings as (

    select
        *,
        sum(is_new) over (
            partition by provider, instrument_id, week_start_date
            order by known_at
            rows between unbounded preceding and current row
        ) as run_number
    from marked_sightings

),

runs as (

    select
        provider,
        instrument_id,
        week_start_date,
        run_number,
        is_present,
        session_date,
        open_usd,
        high_usd,
        low_usd,
        close_usd,
        adjusted_close_usd,
        volume_shares,
        dividend_usd,
        max(symbol) as asked_symbol,
        min(known_at) as known_from,
        max(known_at) as last_seen_at
    from numbered_sightings
    group by
        provider,
        instrument_id,
        week_start_date,
        run_number,
        is_present,
        session_date,
        open_usd,
        high_usd,
        low_usd,
        close_usd,
        adjusted_close_usd,
        volume_shares,
        dividend_usd

),

bounded_runs as (

    select
        *,
        lead(known_from) over (
            partition by provider, instrument_id, week_start_date order by run_number
        ) as known_to
    from runs

),

week_closes as (

    select
        {{ week_start('calendar_date') }} as week_start_date,
        max(closes_at) as closes_at,
        max(calendar_date) as last_session_date
    from calendar
    where is_session
    group by {{ week_start('calendar_date') }}

),

versions as (

    select
        bounded_runs.provider,
        bounded_runs.instrument_id,
        bounded_runs.asked_symbol,
        bounded_runs.week_start_date,
        bounded_runs.session_date,
        cast(
            row_number() over (
                partition by bounded_runs.provider, bounded_runs.instrument_id, bounded_runs.week_start_date
                order by bounded_runs.run_number
            ) as integer
        ) as version_number,
        bounded_runs.open_usd,
        bounded_runs.high_usd,
        bounded_runs.low_usd,
        bounded_runs.close_usd,
        bounded_runs.adjusted_close_usd,
        bounded_runs.volume_shares,
        bounded_runs.dividend_usd,
        bounded_runs.known_from,
        bounded_runs.last_seen_at,
        bounded_runs.known_to,
        bounded_runs.known_to is null as is_current,
        -- Weeks outside the calendar count as closed on Saturday. Before the next week begins, a row that does not
        -- reach the last session is a vendor's that lags behind, but for an instrument that had left the exchange.
        bounded_runs.last_seen_at < coalesce(
            week_closes.closes_at, {{ utc_midnight(add_days('bounded_runs.week_start_date', 5)) }}
        )
        or coalesce(
            bounded_runs.last_seen_at < {{ utc_midnight(add_days('bounded_runs.week_start_date', 7)) }}
            and bounded_runs.session_date < coalesce(week_closes.last_session_date, bounded_runs.session_date)
            and bounded_runs.session_date < coalesce(instruments.delisted_date, week_closes.last_session_date),
            false
        ) as is_partial_week
    from bounded_runs
    left join week_closes
        on bounded_runs.week_start_date = week_closes.week_start_date
    left join instruments
        on bounded_runs.instrument_id = instruments.instrument_id
    where bounded_runs.is_present

)

select * from versions
