-- Longer than most models: whether two announcements are one action depends on all that was said of the instrument.
with

announcements as (

    select * from {{ ref('stg_corporate_actions') }}
    where action_type in ('split', 'dividend')

),

versions as (

    select * from {{ ref('fact_daily_price_version') }}

),

spellings as (

    select * from {{ ref('int_spelling') }}

),

instruments as (

    select * from {{ ref('dim_instrument') }}

),

sources as (

    select * from {{ ref('stg_sources') }}

),

dates as (

    select * from {{ ref('dim_date') }}

),

feeds as (

    select
        provider,
        dataset,
        bool_or(is_snapshot) as is_snapshot
    from sources
    group by provider, dataset

),

priorities as (

    select
        provider,
        min(priority) as priority
    from sources
    where contract in ('corporate_actions', 'bars_daily')
    group by provider

),

-- A snapshot is all that its feed knows of a symbol, so what the newest one leaves out is no longer so.
ranked_announcements as (

    select
        announcements.*,
        coalesce(feeds.is_snapshot, false) as is_snapshot,
        announcements.split_to / announcements.split_from as split_ratio,
        coalesce(announcements.currency, 'USD') as paid_currency,
        dense_rank() over (
            partition by
                announcements.provider,
                announcements.dataset,
                coalesce(announcements.instrument_id, announcements.symbol)
            order by announcements.slice_start_date desc
        ) as snapshot_rank,
        -- `known_at` is part of the key; of two spellings that were asked at one instant the later by alphabet counts.
        row_number() over (
            partition by
                announcements.provider,
                announcements.dataset,
                coalesce(announcements.instrument_id, announcements.symbol),
                announcements.action_type,
                announcements.effective_date,
                announcements.kind
            order by announcements.known_at desc, announcements.symbol desc
        ) as backward_number,
        -- An action that moves keeps its id, also into another slice, and the slice that it left goes on holding it. Of
        -- two days in one answer the later counts; rows of one answer and day are told apart by the rest of their key.
        case
            when nullif(announcements.action_id, '') is null then 1
            else
                rank() over (
                    partition by announcements.provider, announcements.dataset, announcements.action_id
                    order by announcements.known_at desc, announcements.effective_date desc
                )
        end as word_rank
    from announcements
    left join feeds
        on
            announcements.provider = feeds.provider
            and announcements.dataset = feeds.dataset

),

-- A word begins where the one before it on the action had another value, or where a snapshot between them left it out.
compared_announcements as (

    select
        *,
        case
            when
                (
                    split_ratio is not distinct from lag(split_ratio) over in_time
                    and cash_amount is not distinct from lag(cash_amount) over in_time
                    and paid_currency is not distinct from lag(paid_currency) over in_time
                )
                and (not is_snapshot or snapshot_rank + 1 >= lag(snapshot_rank) over in_time)
                then null
            else known_at
        end as word_known_at
    from ranked_announcements
    -- Of two spellings at one instant the later by alphabet comes last, as above.
    window
        in_time as (
            partition by
                provider, dataset, coalesce(instrument_id, symbol), action_type, effective_date, kind
            order by known_at asc, symbol asc
        )

),

-- What is only said again was known from the first time on.
dated_announcements as (

    select
        *,
        max(word_known_at) over (
            partition by
                provider, dataset, coalesce(instrument_id, symbol), action_type, effective_date, kind
        ) as known_from
    from compared_announcements

),

-- Daily bars of some feeds carry the dividend or split of their session.
told_actions as (

    select
        provider,
        instrument_id as source_instrument_id,
        symbol as source_symbol,
        action_type,
        effective_date,
        kind,
        split_ratio,
        cash_amount,
        paid_currency as currency,
        declaration_date,
        record_date,
        pay_date,
        frequency_per_year,
        known_from
    from dated_announcements
    where
        backward_number = 1
        and word_rank = 1
        and (snapshot_rank = 1 or not is_snapshot)
    union all
    select
        provider,
        source_instrument_id,
        source_symbol,
        'split' as action_type,
        session_date as effective_date,
        'bar' as kind,
        split_ratio,
        null as cash_amount,
        'USD' as currency,
        null as declaration_date,
        null as record_date,
        null as pay_date,
        null as frequency_per_year,
        known_from
    from versions
    where is_current and split_ratio <> 1
    union all
    select
        provider,
        source_instrument_id,
        source_symbol,
        'dividend' as action_type,
        session_date as effective_date,
        'bar' as kind,
        null as split_ratio,
        cast(dividend_usd as decimal(28, 10)) as cash_amount,
        'USD' as currency,
        null as declaration_date,
        null as record_date,
        null as pay_date,
        null as frequency_per_year,
        known_from
    from versions
    where is_current and dividend_usd > 0

),

-- A ratio of one is no split, and a dividend of nothing none. What is dated on a closed day counts from the session
-- after it.
identified_actions as (

    select
        told_actions.*,
        case
            when dates.is_session or dates.next_session_date is null then told_actions.effective_date
            else dates.next_session_date
        end as first_session_date,
        coalesce(
            told_actions.source_instrument_id,
            spellings.instrument_id,
            {{ instrument_id_of(["'symbol'", 'told_actions.source_symbol']) }}
        ) as instrument_id,
        coalesce(priorities.priority, 9999) as priority
    from told_actions
    left join spellings
        on
            case when told_actions.source_instrument_id is null then told_actions.source_symbol end
            = spellings.symbol
            and told_actions.effective_date >= spellings.valid_from
            and told_actions.effective_date < coalesce(spellings.valid_to, {{ open_end() }})
    left join dates
        on told_actions.effective_date = dates.calendar_date
    left join priorities
        on told_actions.provider = priorities.provider
    where told_actions.split_ratio <> 1 or told_actions.cash_amount > 0

),

-- One provider's word on one day: vendors split a day's dividends into kinds as they like, so the day's sum is
-- compared.
days as (

    select
        instrument_id,
        action_type,
        first_session_date,
        provider,
        priority,
        coalesce({{ product('split_ratio') }}, cast(sum(cash_amount) as double)) as day_value,
        min(currency) as lowest_currency,
        max(currency) as highest_currency,
        max(known_from) as known_from
    from identified_actions
    group by instrument_id, action_type, first_session_date, provider, priority

),

supported_days as (

    select
        days.instrument_id,
        days.action_type,
        days.first_session_date,
        days.provider,
        days.priority,
        days.day_value,
        days.lowest_currency,
        days.highest_currency,
        count(*) as provider_count,
        count(
            case
                when greatest(days.day_value, others.day_value) <= least(days.day_value, others.day_value) * 1.005
                    then 1
            end
        ) as agreeing_count,
        min(
            case
                when greatest(days.day_value, others.day_value) <= least(days.day_value, others.day_value) * 1.005
                    then others.known_from
            end
        ) as known_from
    from days
    inner join days as others
        on
            days.instrument_id = others.instrument_id
            and days.action_type = others.action_type
            and days.first_session_date = others.first_session_date
    group by
        days.instrument_id,
        days.action_type,
        days.first_session_date,
        days.provider,
        days.priority,
        days.day_value,
        days.lowest_currency,
        days.highest_currency

),

-- The value that most providers have counts, then the preferred provider, then the name: one answers for the day.
ranked_days as (

    select
        *,
        row_number() over (
            partition by instrument_id, action_type, first_session_date
            order by agreeing_count desc, priority asc, provider asc
        ) as provider_number
    from supported_days

),

winning_days as (

    select * from ranked_days
    where provider_number = 1

),

-- Two days that one provider tells are two actions, however near.
separate_days as (

    select
        days.instrument_id,
        days.action_type,
        days.first_session_date,
        others.first_session_date as other_session_date
    from days
    inner join days as others
        on
            days.instrument_id = others.instrument_id
            and days.action_type = others.action_type
            and days.provider = others.provider
            and abs({{ days_between('days.first_session_date', 'others.first_session_date') }}) <= 5
    group by days.instrument_id, days.action_type, days.first_session_date, others.first_session_date

),

-- One value on two days within three sessions, which last up to five days, is one action that providers date apart. The
-- day that more of them tell is kept, then the preferred provider's, then the first name's: days equal in all of it are
-- one provider's. Of a provider that has two such days around it the nearer is the same action, then the earlier.
numbered_days as (

    select
        told_days.instrument_id,
        told_days.action_type,
        told_days.first_session_date,
        told_days.agreeing_count,
        kept_days.first_session_date as kept_session_date,
        row_number() over (
            partition by
                told_days.instrument_id,
                told_days.action_type,
                told_days.provider,
                kept_days.first_session_date
            order by
                abs({{ days_between('told_days.first_session_date', 'kept_days.first_session_date') }}) asc,
                told_days.first_session_date asc
        ) as nearness_number
    from winning_days as told_days
    inner join winning_days as kept_days
        on
            told_days.instrument_id = kept_days.instrument_id
            and told_days.action_type = kept_days.action_type
            and abs({{ days_between('told_days.first_session_date', 'kept_days.first_session_date') }}) <= 5
            and told_days.lowest_currency = kept_days.lowest_currency
            and told_days.highest_currency = kept_days.highest_currency
            and greatest(told_days.day_value, kept_days.day_value)
            <= least(told_days.day_value, kept_days.day_value) * 1.000001
    left join separate_days
        on
            told_days.instrument_id = separate_days.instrument_id
            and told_days.action_type = separate_days.action_type
            and told_days.first_session_date = separate_days.first_session_date
            and kept_days.first_session_date = separate_days.other_session_date
    where
        separate_days.instrument_id is null
        and (
            kept_days.agreeing_count > told_days.agreeing_count
            or (
                kept_days.agreeing_count = told_days.agreeing_count
                and (
                    kept_days.priority < told_days.priority
                    or (kept_days.priority = told_days.priority and kept_days.provider < told_days.provider)
                )
            )
        )

),

moved_days as (

    select
        instrument_id,
        action_type,
        first_session_date
    from numbered_days
    where nearness_number = 1
    group by instrument_id, action_type, first_session_date

),

nearby_days as (

    select
        instrument_id,
        action_type,
        kept_session_date as first_session_date,
        sum(agreeing_count) as moved_count
    from numbered_days
    where nearness_number = 1
    group by instrument_id, action_type, kept_session_date

),

-- Who tells the action on another day tells of it, but does not agree.
counted_days as (

    select
        winning_days.instrument_id,
        winning_days.action_type,
        winning_days.first_session_date,
        winning_days.provider,
        winning_days.provider_count + coalesce(nearby_days.moved_count, 0) as provider_count,
        winning_days.agreeing_count,
        winning_days.known_from
    from winning_days
    left join moved_days
        on
            winning_days.instrument_id = moved_days.instrument_id
            and winning_days.action_type = moved_days.action_type
            and winning_days.first_session_date = moved_days.first_session_date
    left join nearby_days
        on
            winning_days.instrument_id = nearby_days.instrument_id
            and winning_days.action_type = nearby_days.action_type
            and winning_days.first_session_date = nearby_days.first_session_date
    where moved_days.instrument_id is null

),

current_symbols as (

    select
        instrument_id,
        symbol
    from instruments
    where is_current

),

actions as (

    select
        {{ surrogate_key([
            'actions.instrument_id', 'actions.action_type', 'actions.effective_date', 'actions.kind'
        ]) }} as corporate_action_key,
        coalesce(instruments.instrument_key, {{ unknown_key() }}) as instrument_key,
        actions.instrument_id,
        coalesce(names.instrument_symbol, current_symbols.symbol, actions.source_symbol) as symbol,
        actions.action_type,
        actions.effective_date,
        actions.first_session_date,
        actions.kind,
        actions.split_ratio,
        actions.cash_amount,
        case when actions.action_type = 'dividend' then actions.currency end as currency,
        actions.declaration_date,
        actions.record_date,
        actions.pay_date,
        actions.frequency_per_year,
        actions.provider,
        cast(counted_days.provider_count as integer) as provider_count,
        cast(counted_days.agreeing_count as integer) as agreeing_provider_count,
        -- The whole day is known once one of those that agree has told all of it.
        least(actions.known_from, counted_days.known_from) as known_from
    from identified_actions as actions
    inner join counted_days
        on
            actions.instrument_id = counted_days.instrument_id
            and actions.action_type = counted_days.action_type
            and actions.first_session_date = counted_days.first_session_date
            and actions.provider = counted_days.provider
    left join instruments
        on
            actions.instrument_id = instruments.instrument_id
            and actions.effective_date >= instruments.valid_from
            and actions.effective_date < coalesce(instruments.valid_to, {{ open_end() }})
    left join spellings as names
        on
            actions.instrument_id = names.instrument_id
            and actions.effective_date >= names.valid_from
            and actions.effective_date < coalesce(names.valid_to, {{ open_end() }})
    left join current_symbols
        on actions.instrument_id = current_symbols.instrument_id

)

select * from actions
