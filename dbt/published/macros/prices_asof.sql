-- One row per instrument: its last daily bar with a session on or before `day`, as it was known at the instant
-- `known_at` (a timestamp; text is read as UTC when it has no zone and the session is in UTC), chosen as
-- `fact_daily_price` chooses among the providers that had the session by then. Prices are as traded.
create or replace macro prices_asof(day, known_at) as table
    with known_versions as (
        select
            instrument_id,
            symbol,
            provider,
            provider_rank,
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
            known_from,
            known_to
        from fact_daily_price_version
        where
            session_date <= cast(day as date)
            and known_from <= cast(known_at as timestamp with time zone)
            and (known_to is null or known_to > cast(known_at as timestamp with time zone))
    ),

    newest_sessions as (
        select
            instrument_id,
            max(session_date) as session_date
        from known_versions
        group by instrument_id
    ),

    newest_versions as (
        select
            known_versions.*,
            list(known_versions.close_usd) over (partition by known_versions.instrument_id) as known_closes
        from known_versions
        inner join newest_sessions
            on
                known_versions.instrument_id = newest_sessions.instrument_id
                and known_versions.session_date = newest_sessions.session_date
    ),

    counted_versions as (
        select
            *,
            len(list_filter(
                known_closes, lambda other: greatest(other, close_usd) <= least(other, close_usd) * 1.001
            )) as agreeing_count
        from newest_versions
    )

    select * exclude (provider_rank, known_closes, agreeing_count)
    from counted_versions
    -- A provider has one version of a session at an instant and a rank of its own: there is no tie.
    qualify row_number() over (partition by instrument_id order by agreeing_count desc, provider_rank asc) = 1
    order by symbol, instrument_id;
