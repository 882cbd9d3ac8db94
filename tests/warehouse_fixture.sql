-- Every gold table of the fixture that is no daily one, from `bars` (one row per instrument and week) and `members`,
-- which warehouse_fixture.py fills. Written apart from the dbt models on purpose.
create table dim_date as
select
    (extract(year from d) * 10000 + extract(month from d) * 100 + extract(day from d))::integer as date_key,
    d::date as calendar_date,
    isodow(d) < 6 as is_session,
    false as is_half_day,
    case when isodow(d) < 6 then (d + interval 14 hour + interval 30 minute)::timestamp at time zone 'UTC' end as opens_at,
    case when isodow(d) < 6 then (d + interval 21 hour)::timestamp at time zone 'UTC' end as closes_at,
    isoyear(d)::integer as iso_year,
    weekofyear(d)::integer as iso_week,
    date_trunc('week', d)::date as week_start_date,
    date_trunc('month', d)::date as month_start_date,
    date_trunc('quarter', d)::date as quarter_start_date,
    year(d)::integer as year, quarter(d)::integer as quarter, month(d)::integer as month,
    isodow(d)::integer as day_of_week,
    isodow(d) = 5 as is_week_end_session, false as is_month_end_session, false as is_quarter_end_session,
    max(if(isodow(d) < 6, d::date, null)) over (order by d rows between unbounded preceding and 1 preceding)
        as previous_session_date,
    min(if(isodow(d) < 6, d::date, null)) over (order by d rows between 1 following and unbounded following)
        as next_session_date
from range(timestamp '2020-01-01', timestamp '2027-01-01', interval 1 day) as r (d);

create table dim_instrument as
select
    md5(instrument_id) as instrument_key, instrument_id, symbol, name, asset_class, 'XNAS' as exchange, 'USD' as currency,
    sector, sector || ' products' as industry, date '1900-01-01' as valid_from, null::date as valid_to, true as is_current,
    listed_date, delisted_date, delisted_date is not null as is_delisted, is_followed,
    if(is_followed, 'universe', 'roster') as identity_source,
    if(is_followed, 'alpha_vantage/overview', 'polygon/tickers') as attribute_source
from members
union all
select md5('unknown'), 'unknown', 'unknown', 'Unknown', 'unknown', 'unknown', 'USD', null, null, date '1900-01-01', null,
    true, null, null, false, false, 'none', 'none';

create table dim_symbol_history as
select md5(instrument_id || symbol) as symbol_history_key, instrument_id, instrument_key, symbol,
    coalesce(listed_date, date '1900-01-01') as valid_from, null::date as valid_to, true as is_current
from dim_instrument where instrument_id <> 'unknown'
union all
select md5('OLDW'), instrument_id, instrument_key, 'OLDW', date '2018-01-02', date '2024-06-10', false
from dim_instrument where symbol = 'WREN';

create table dim_source as
select md5(dataset) as source_key, provider, dataset, contract, endpoint, title, title as description,
    'end of day' as delay, adjustment, 'free tier, personal use' as licence_note, grain, grain = 'week' as is_snapshot,
    priority
from (values
    ('alpha_vantage', 'weekly_adjusted', 'bars_weekly_adjusted', 'TIME_SERIES_WEEKLY_ADJUSTED', 'Weekly adjusted prices',
        'splits and dividends', 'week', 1),
    ('alpha_vantage', 'overview', 'company_profile', 'OVERVIEW', 'Company overview', 'none', 'week', 1),
    ('fmp', 'eod_raw', 'bars_daily', '/stable/historical-price-eod/non-split-adjusted', 'Daily prices as traded', 'none',
        'session', 1),
    ('polygon', 'grouped_daily', 'bars_daily', '/v2/aggs/grouped/locale/us/market/stocks', 'The market of a session',
        'none', 'session', 2)
) as v (provider, dataset, contract, endpoint, title, adjustment, grain, priority);

create table fact_price_version as
with closed as (
    select *, week_start_date = date '2026-11-16' and false as is_partial_week from bars
),
restated as (
    select instrument_id, week_start_date from bars
    where (symbol, week_start_date) in (('ORCA', date '2026-03-02'), ('KIWI', date '2026-08-10'))
)
select
    md5(b.instrument_id || b.week_start_date || v.version_number) as price_version_key, md5(b.instrument_id) as instrument_key,
    b.instrument_id, b.symbol, 'alpha_vantage' as provider, 1 as provider_rank, b.week_start_date, b.session_date, v.version_number,
    b.open_usd, b.high_usd, b.low_usd,
    b.close_usd * if(v.version_number < v.versions, 0.985, 1) as close_usd,
    b.adjusted_close_usd * if(v.version_number < v.versions, 0.985, 1) as adjusted_close_usd,
    b.volume_shares, b.dividend_usd,
    case when v.version_number = 1 then b.session_date::timestamp + interval 22 hour
        else timestamp '2026-11-09 22:10:00' end at time zone 'UTC' as known_from,
    case when v.version_number < v.versions then timestamp '2026-11-09 22:10:00' at time zone 'UTC' end as known_to,
    v.version_number = v.versions as is_current, b.is_partial_week
from closed as b
left join restated as r using (instrument_id, week_start_date)
cross join lateral (
    select unnest(if(r.instrument_id is null, [1], [1, 2])) as version_number, if(r.instrument_id is null, 1, 2) as versions
) as v;
create table fact_adjusted_prices as
with returns as (
    select *, adjusted_close_usd / lag(adjusted_close_usd) over w - 1 as weekly_return_ratio
    from fact_price_version where is_current
    window w as (partition by instrument_id order by week_start_date)
),
windows as (
    select *,
        row_number() over (partition by instrument_id order by week_start_date) as n,
        stddev_samp(weekly_return_ratio) over w as sd_return, avg(weekly_return_ratio) over w as mean_return,
        stddev_samp(adjusted_close_usd) over w as sd_price, avg(adjusted_close_usd) over w as mean_price,
        stddev_samp(volume_shares) over w as sd_volume, avg(volume_shares) over w as mean_volume,
        max(high_usd * adjusted_close_usd / close_usd) over w as high_52w,
        min(low_usd * adjusted_close_usd / close_usd) over w as low_52w
    from returns
    window w as (partition by instrument_id order by week_start_date rows between 51 preceding and current row)
),
full_windows as (
    select *, if(n > 52, sd_return * sqrt(52), null) as volatility from windows
)
select
    md5(f.instrument_id || f.week_start_date) as price_key, f.instrument_key,
    strftime(f.session_date, '%Y%m%d')::integer as date_key, md5('weekly_adjusted') as source_key, f.instrument_id, f.symbol,
    f.week_start_date, f.session_date, f.open_usd, f.high_usd, f.low_usd, f.close_usd, f.adjusted_close_usd,
    f.volume_shares, f.dividend_usd, f.close_usd * f.volume_shares as dollar_volume_usd, f.weekly_return_ratio,
    f.volatility as volatility_52w_ratio, f.high_52w as high_52w_usd, f.low_52w as low_52w_usd,
    f.adjusted_close_usd / f.high_52w - 1 as distance_to_high_52w_ratio,
    f.adjusted_close_usd / f.low_52w - 1 as distance_to_low_52w_ratio,
    f.volatility / avg(f.volatility) over (partition by i.sector, f.week_start_date) as volatility_to_sector_ratio,
    f.volatility / avg(f.volatility) over (partition by f.week_start_date) as volatility_to_universe_ratio,
    if(n > 52, (f.weekly_return_ratio - mean_return) / nullif(sd_return, 0), null) as return_zscore_52w,
    if(n > 51, (f.adjusted_close_usd - mean_price) / nullif(sd_price, 0), null) as price_zscore_52w,
    if(n > 51, (f.volume_shares - mean_volume) / nullif(sd_volume, 0), null) as volume_zscore_52w,
    f.is_partial_week, f.known_from as known_at, f.version_number
from full_windows as f
join dim_instrument as i using (instrument_id);

create table agg_sector_performance as
select
    md5(coalesce(i.sector, 'none') || f.week_start_date) as sector_week_key, i.sector, f.week_start_date,
    count(*) as instrument_count, avg(weekly_return_ratio) as average_return_ratio,
    median(weekly_return_ratio) as median_return_ratio, sum(dollar_volume_usd) as dollar_volume_usd,
    sum(dollar_volume_usd) / sum(sum(dollar_volume_usd)) over (partition by f.week_start_date) as dollar_volume_share_ratio,
    sum(volume_shares)::bigint as volume_shares, avg(volatility_52w_ratio) as average_volatility_52w_ratio,
    count(*) filter (weekly_return_ratio > 0) as advancing_count,
    count(*) filter (weekly_return_ratio < 0) as declining_count,
    arg_max(f.symbol, weekly_return_ratio) as best_symbol, arg_min(f.symbol, weekly_return_ratio) as worst_symbol,
    bool_or(is_partial_week) as is_partial_week, 'fact_adjusted_prices' as price_source
from fact_adjusted_prices as f
join dim_instrument as i using (instrument_id)
where i.asset_class = 'stock'
group by i.sector, f.week_start_date;

create table mart_quarantine as
select md5(rule || n) as quarantine_key, 'alpha_vantage' as provider, 'weekly_adjusted' as dataset,
    date '2026-11-16' as slice_start_date, i.instrument_id, i.symbol, rule,
    '{"close_usd": "-' || n || '.25", "week": "2026-11-1' || n || '"}' as row_json,
    'bronze/alpha_vantage/weekly_adjusted/slice=2026-11-16/' || i.symbol || '.csv' as bronze_key,
    timestamp '2026-11-20 22:10:00' at time zone 'UTC' as known_at
from (values ('DRAY', 'price_positive', 3), ('DRAY', 'low_below_high', 4), ('MOTH', 'price_positive', 5)) as v (s, rule, n)
join dim_instrument as i on i.symbol = v.s;

comment on table fact_adjusted_prices is 'One instrument and week: prices, return, volatility and z-scores.';
comment on column fact_adjusted_prices.close_usd is 'Last raw close of the week, USD.';
comment on column fact_adjusted_prices.volatility_52w_ratio is
    'Sample deviation of 52 weekly simple returns on adjusted closes, annualised by sqrt(52).';
comment on table dim_instrument is 'One version of an instrument (SCD type 2).';
comment on column dim_instrument.sector is 'Sector in force in this version; null for funds.';

drop table bars;
