-- Every weekly bar as it was known at the instant `known_at`: one row per instrument and week, from the preferred
-- provider where it was known by then, else the next one.
create or replace macro weekly_price_history_asof(known_at) as table
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
        known_from <= cast(known_at as timestamp with time zone)
        and (known_to is null or known_to > cast(known_at as timestamp with time zone))
    -- rank(), not row_number(): all weeks of the chosen provider stay.
    qualify rank() over (partition by instrument_id order by provider_rank) = 1
    order by symbol, instrument_id, week_start_date;
