{{ config(materialized='view') }}
-- Longer than most models: a version can only be told beside all that was said of its session.
with

bars as (

    select * from {{ ref('int_bars_daily') }}
    where price_basis = 'raw'

),

stored_versions as (

    select * from {{ ref('int_stored_price_version') }}

),

quarantine as (

    select * from {{ ref('stg_quarantine') }}

),

spellings as (

    select * from {{ ref('int_spelling') }}

),

instruments as (

    select * from {{ ref('int_instrument_version') }}

),

sources as (

    select * from {{ ref('dim_source') }}

),

-- A session's file has one word on each instrument, and needs no history, unless it was fetched again.
changed_sessions as (

    select
        provider,
        dataset,
        slice_start_date
    from bars
    where not is_snapshot
    group by provider, dataset, slice_start_date
    having min(known_at) < max(known_at) or count(instrument_id) > count(distinct instrument_id)

),

-- What was known before the changed snapshots, and what they say. An answer is one slice's, and number 0 stands for all
-- answers before them.
words as (

    select
        bars.provider,
        bars.dataset,
        bars.is_snapshot,
        bars.slice_start_date,
        coalesce(bars.instrument_id, bars.symbol) as source_name,
        bars.instrument_id as source_instrument_id,
        bars.symbol as source_symbol,
        bars.session_date,
        bars.known_at,
        cast(null as timestamp with time zone) as ended_at,
        1 as first_number,
        bars.open_usd,
        bars.high_usd,
        bars.low_usd,
        bars.close_usd,
        bars.volume_shares,
        bars.vwap_usd,
        bars.transaction_count,
        bars.adjusted_close_usd,
        bars.dividend_usd,
        bars.split_ratio
    from bars
    left join changed_sessions
        on
            bars.provider = changed_sessions.provider
            and bars.dataset = changed_sessions.dataset
            and bars.slice_start_date = changed_sessions.slice_start_date
    where bars.is_snapshot or changed_sessions.provider is not null
    {%- if is_continued() %}
    union all
    select
        provider,
        dataset,
        true as is_snapshot,
        cast('1900-01-01' as date) as slice_start_date,
        coalesce(source_instrument_id, source_symbol) as source_name,
        source_instrument_id,
        source_symbol,
        session_date,
        known_from as known_at,
        case when known_to <= goes_on_from then known_to end as ended_at,
        version_number as first_number,
        open_usd,
        high_usd,
        low_usd,
        close_usd,
        volume_shares,
        vwap_usd,
        transaction_count,
        adjusted_close_usd,
        dividend_usd,
        split_ratio
    from stored_versions
    where role = 'continued'
    {%- endif %}

),

answers as (

    select
        provider,
        dataset,
        source_name,
        slice_start_date,
        min(known_at) as answered_at,
        min(session_date) as first_session_date,
        max(session_date) as last_session_date,
        row_number() over (partition by provider, dataset, source_name order by slice_start_date) as answer_number,
        count(*) over (partition by provider, dataset, source_name) as answer_count
    from words
    where is_snapshot and ended_at is null
    group by provider, dataset, source_name, slice_start_date

),

present_sessions as (

    select
        words.provider,
        words.dataset,
        words.source_name,
        words.session_date,
        answers.answer_number,
        answers.answer_count,
        lead(answers.answer_number) over (
            partition by words.provider, words.dataset, words.source_name, words.session_date
            order by answers.answer_number
        ) as next_answer_number
    from words
    inner join answers
        on
            words.provider = answers.provider
            and words.dataset = answers.dataset
            and words.source_name = answers.source_name
            and words.slice_start_date = answers.slice_start_date
    where words.ended_at is null
    group by
        words.provider,
        words.dataset,
        words.source_name,
        words.session_date,
        answers.answer_number,
        answers.answer_count

),

missed_sessions as (

    select * from present_sessions
    where
        next_answer_number > answer_number + 1
        or (next_answer_number is null and answer_number < answer_count)

),

-- A row that we rejected is not one that the provider withdrew. One whose date can't be read (null here) may be any
-- session's, so its answer withdraws nothing.
rejected_sessions as (

    select
        provider,
        dataset,
        coalesce(instrument_id, symbol) as source_name,
        slice_start_date,
        {{ json_date('row_json', 'session_date') }} as session_date
    from quarantine
    where contract = 'bars_daily' and rule is distinct from 'payload_unreadable'
    group by all

),

-- Withdrawn: a later answer reaches from before the session to after it, and the session is not in it.
withdrawals as (

    select
        missed_sessions.provider,
        missed_sessions.dataset,
        missed_sessions.source_name,
        missed_sessions.session_date,
        missed_sessions.answer_number,
        min(answers.answered_at) as withdrawn_at
    from missed_sessions
    inner join answers
        on
            missed_sessions.provider = answers.provider
            and missed_sessions.dataset = answers.dataset
            and missed_sessions.source_name = answers.source_name
            and missed_sessions.answer_number < answers.answer_number
            and answers.answer_number < coalesce(missed_sessions.next_answer_number, missed_sessions.answer_count + 1)
            and missed_sessions.session_date between answers.first_session_date and answers.last_session_date
    left join rejected_sessions
        on
            answers.provider = rejected_sessions.provider
            and answers.dataset = rejected_sessions.dataset
            and answers.source_name = rejected_sessions.source_name
            and answers.slice_start_date = rejected_sessions.slice_start_date
            and missed_sessions.session_date
            = coalesce(rejected_sessions.session_date, missed_sessions.session_date)
    where rejected_sessions.provider is null
    group by
        missed_sessions.provider,
        missed_sessions.dataset,
        missed_sessions.source_name,
        missed_sessions.session_date,
        missed_sessions.answer_number

),

ends as (

    select
        provider,
        dataset,
        source_name,
        session_date,
        withdrawn_at as ended_at
    from withdrawals
    union all
    select
        provider,
        dataset,
        source_name,
        session_date,
        ended_at
    from words
    where ended_at is not null

),

sightings as (

    select
        provider,
        dataset,
        source_name,
        source_instrument_id,
        source_symbol,
        session_date,
        known_at,
        true as is_present,
        first_number,
        open_usd,
        high_usd,
        low_usd,
        close_usd,
        volume_shares,
        vwap_usd,
        transaction_count,
        adjusted_close_usd,
        dividend_usd,
        split_ratio
    from words
    union all
    select
        provider,
        dataset,
        source_name,
        null as source_instrument_id,
        null as source_symbol,
        session_date,
        ended_at as known_at,
        false as is_present,
        null as first_number,
        null as open_usd,
        null as high_usd,
        null as low_usd,
        null as close_usd,
        null as volume_shares,
        null as vwap_usd,
        null as transaction_count,
        null as adjusted_close_usd,
        null as dividend_usd,
        null as split_ratio
    from ends

),

-- An instrument that changed its symbol may have been asked for under both at one instant: that is one word. The later
-- symbol by alphabet stands for both, so that every build says the same.
numbered_sightings as (

    select
        *,
        row_number() over (
            partition by provider, dataset, source_name, session_date, known_at order by source_symbol desc
        ) as word_number
    from sightings

),

-- A sighting begins a run when anything differs from the one before it: A, B, A are three runs.
marked_sightings as (

    select
        *,
        first_value(first_number) over in_time as run_base,
        case
            when
                (
                    is_present is not distinct from lag(is_present) over in_time
                    and open_usd is not distinct from lag(open_usd) over in_time
                    and high_usd is not distinct from lag(high_usd) over in_time
                    and low_usd is not distinct from lag(low_usd) over in_time
                    and close_usd is not distinct from lag(close_usd) over in_time
                    and volume_shares is not distinct from lag(volume_shares) over in_time
                    and vwap_usd is not distinct from lag(vwap_usd) over in_time
                    and transaction_count is not distinct from lag(transaction_count) over in_time
                    and adjusted_close_usd is not distinct from lag(adjusted_close_usd) over in_time
                    and dividend_usd is not distinct from lag(dividend_usd) over in_time
                    and split_ratio is not distinct from lag(split_ratio) over in_time
                )
                then 0
            else 1
        end as is_new
    from numbered_sightings
    where word_number = 1
    window in_time as (partition by provider, dataset, source_name, session_date order by known_at)

),

runs as (

    select
        *,
        lead(known_at) over (
            partition by provider, dataset, source_name, session_date order by known_at
        ) as known_to
    from marked_sightings
    where is_new = 1

),

versions as (

    select
        provider,
        dataset,
        source_instrument_id,
        source_symbol,
        session_date,
        run_base + row_number() over (
            partition by provider, dataset, source_name, session_date order by known_at
        ) - 1 as version_number,
        open_usd,
        high_usd,
        low_usd,
        close_usd,
        volume_shares,
        vwap_usd,
        transaction_count,
        adjusted_close_usd,
        dividend_usd,
        split_ratio,
        known_at as known_from,
        known_to
    from runs
    where is_present
    union all
    select
        bars.provider,
        bars.dataset,
        bars.instrument_id as source_instrument_id,
        bars.symbol as source_symbol,
        bars.session_date,
        1 as version_number,
        bars.open_usd,
        bars.high_usd,
        bars.low_usd,
        bars.close_usd,
        bars.volume_shares,
        bars.vwap_usd,
        bars.transaction_count,
        bars.adjusted_close_usd,
        bars.dividend_usd,
        bars.split_ratio,
        bars.known_at as known_from,
        null as known_to
    from bars
    left join changed_sessions
        on
            bars.provider = changed_sessions.provider
            and bars.dataset = changed_sessions.dataset
            and bars.slice_start_date = changed_sessions.slice_start_date
    where not bars.is_snapshot and changed_sessions.provider is null
    {%- if is_continued() %}
    union all
    -- Only who is meant has changed.
    select
        provider,
        dataset,
        source_instrument_id,
        source_symbol,
        session_date,
        version_number,
        open_usd,
        high_usd,
        low_usd,
        close_usd,
        volume_shares,
        vwap_usd,
        transaction_count,
        adjusted_close_usd,
        dividend_usd,
        split_ratio,
        known_from,
        known_to
    from stored_versions
    where role = 'renamed'
    {%- endif %}

),

-- A symbol that nobody knows is an instrument of its own: no price is lost.
identified_versions as (

    select
        versions.*,
        coalesce(
            versions.source_instrument_id,
            spellings.instrument_id,
            {{ instrument_id_of(["'symbol'", 'versions.source_symbol']) }}
        ) as instrument_id,
        case
            when versions.source_instrument_id is null then coalesce(spellings.identity_source, 'symbol')
        end as found_by
    from versions
    left join spellings
        on
            case when versions.source_instrument_id is null then versions.source_symbol end = spellings.symbol
            and versions.session_date >= spellings.valid_from
            and versions.session_date < coalesce(spellings.valid_to, {{ open_end() }})

),

provider_ranks as (

    select
        provider,
        cast(row_number() over (order by min(priority) asc, provider asc) as integer) as provider_rank
    from sources
    where contract = 'bars_daily'
    group by provider

),

current_symbols as (

    select
        instrument_id,
        symbol
    from instruments
    where is_current

),

keyed_versions as (

    select
        {{ surrogate_key([
            'identified_versions.provider',
            'identified_versions.dataset',
            'identified_versions.instrument_id',
            'identified_versions.session_date',
            'identified_versions.version_number'
        ]) }} as daily_price_version_key,
        case
            when identified_versions.found_by = 'symbol'
                then {{ surrogate_key(['identified_versions.instrument_id', "'1900-01-01'"]) }}
            else coalesce(instruments.instrument_key, {{ unknown_key() }})
        end as instrument_key,
        coalesce(sources.source_key, {{ unknown_key() }}) as source_key,
        identified_versions.instrument_id,
        coalesce(names.instrument_symbol, current_symbols.symbol, identified_versions.source_symbol) as symbol,
        identified_versions.provider,
        identified_versions.dataset,
        coalesce(provider_ranks.provider_rank, 9999) as provider_rank,
        identified_versions.session_date,
        cast(identified_versions.version_number as integer) as version_number,
        identified_versions.open_usd,
        identified_versions.high_usd,
        identified_versions.low_usd,
        identified_versions.close_usd,
        identified_versions.volume_shares,
        identified_versions.vwap_usd,
        identified_versions.transaction_count,
        identified_versions.adjusted_close_usd,
        identified_versions.dividend_usd,
        identified_versions.split_ratio,
        identified_versions.known_from,
        identified_versions.known_to,
        identified_versions.known_to is null as is_current,
        coalesce(identified_versions.found_by, instruments.identity_source, 'unknown') as identity_source,
        identified_versions.source_symbol,
        identified_versions.source_instrument_id
    from identified_versions
    left join instruments
        on
            identified_versions.instrument_id = instruments.instrument_id
            and identified_versions.session_date >= instruments.valid_from
            and identified_versions.session_date < coalesce(instruments.valid_to, {{ open_end() }})
    left join spellings as names
        on
            identified_versions.instrument_id = names.instrument_id
            and identified_versions.session_date >= names.valid_from
            and identified_versions.session_date < coalesce(names.valid_to, {{ open_end() }})
    left join current_symbols
        on identified_versions.instrument_id = current_symbols.instrument_id
    left join provider_ranks
        on identified_versions.provider = provider_ranks.provider
    left join sources
        on
            identified_versions.provider = sources.provider
            and identified_versions.dataset = sources.dataset

)

select * from keyed_versions
