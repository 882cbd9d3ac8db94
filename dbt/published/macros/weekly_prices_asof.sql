-- One row per instrument: its last weekly bar with a session on or before `day`, as it was known at the instant
-- `known_at` (a timestamp; text is read as UTC when it has no zone and the session is in UTC). The preferred provider
-- answers where it was known by then, else the next one.
create or replace macro weekly_prices_asof(day, known_at) as table
    select
        instrument_id,
        symbol,
        provider,
        week_start_date,
        session_date,
        version_number,
        open_usd,
        high_usd,
        low_usd,
        close_usd,
        adjusted_close_usd,
        volume_shares,
        dividend_usd,
        known_from,
        known_to,
        is_partial_week
    from fact_price_version
    where
        session_date <= cast(day as date)
        and known_from <= cast(known_at as timestamp with time zone)
        and (known_to is null or known_to > cast(known_at as timestamp with time zone))
    -- A provider has one version of a week at an instant, and weeks differ in their date: there is no tie.
    qualify row_number() over (partition by instrument_id order by provider_rank asc, week_start_date desc) = 1
    order by symbol, instrument_id;
